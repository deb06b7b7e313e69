"""Pipelines from settings, and what is said of wrong ones."""

import pytest

from rlcore.errors import ConfigError
from rlcore.inference.decoding import acceptance, build_decoder, caches, planners, schedules
from rlcore.inference.decoding.confidence import Confidence
from rlcore.inference.decoding.stop import StopRule
from tests.inference.decoding.denoisers import Mixing

TOP3 = {"name": "top_k", "k": 3}


def test_every_setting_reaches_its_part():
    decoder = build_decoder(
        {
            "decoding": {
                "gen_length": 64,
                "planner": {"name": "semi_ar", "block_length": 16},
                "acceptance": {"name": "hierarchical", "high": 0.8, "low": 0.2},
                "confidence": {"name": "margin", "of": "sample"},
                "confidence_transforms": [
                    {"name": "eos_early_rejection", "gamma_min": 0.3, "gamma_max": 0.7,
                     "clock": "filled", "eos_ids": [1, 5]}
                ],
                "logit_transforms": [{"name": "top_k", "k": 5}, {"name": "top_p", "p": 0.9}],
                "search": None,
                "cache": {"name": "none"},
                "stop": {"eos": False, "max_nfe": 9},
                "temperature": 0.5,
                "cfg_scale": 2,
                "compact_every": 7,
                "execution": "eager",
            }
        },
        Mixing(),
    )  # fmt: skip
    parts = decoder.parts
    assert (decoder.gen_length, decoder.compact_every, decoder.execution) == (64, 7, "eager")
    assert parts.planner == planners.SemiAR(16)
    assert parts.acceptance == acceptance.Hierarchical(0.8, 0.2)
    assert parts.confidence == Confidence("margin", "sample")
    (rule,) = parts.confidence_transforms
    assert (rule.gamma_min, rule.gamma_max, rule.clock, rule.eos_ids) == (
        0.3,
        0.7,
        "filled",
        (1, 5),
    )
    assert [type(t).__name__ for t in parts.logit_transforms] == ["TopK", "TopP"]
    assert parts.cache == caches.NoCache()
    assert parts.stop == StopRule(False, 9)
    assert (parts.temperature, parts.guidance) == (0.5, 2.0)


def test_defaults():
    parts = build_decoder({}, Mixing()).parts
    assert parts.planner == planners.FullSequence()
    assert parts.acceptance == acceptance.Threshold(0.9)
    assert parts.confidence == Confidence("prob", "sample")
    assert parts.stop == StopRule(True, None)
    bound = build_decoder({"acceptance": "entropy_bound"}, Mixing()).parts
    assert bound.confidence == Confidence("neg_entropy")


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("ascending", schedules.AscendingSchedule()),
        ({"name": "ascending", "scope": "block"}, schedules.AscendingSchedule("block")),
        ({"name": "uniform", "steps": 4}, schedules.UniformSchedule(4)),
        ({"name": "cosine", "steps": 4}, schedules.CosineSchedule(4)),
        ({"name": "custom", "counts": [1, 2]}, schedules.CustomSchedule((1, 2))),
    ],
)
def test_schedules(schedule, wanted):
    cfg = {"acceptance": {"name": "fixed_count", "schedule": schedule}}
    assert build_decoder(cfg, Mixing()).parts.acceptance.schedule == wanted


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        ([], "wants a mapping, got list"),
        ({"planer": "full"}, "no setting 'planer'; did you mean 'planner'"),
        ({"planner": "fulll"}, "decoding.planner: no 'fulll'; did you mean 'full'"),
        ({"planner": 3}, "decoding.planner wants a name, or a mapping .* got 3"),
        ({"planner": {"block_length": 3}}, "wants a name, or a mapping with a name"),
        ({"planner": {"name": "semi_ar", "block_len": 3}}, "did you mean 'block_length'"),
        ({"planner": "semi_ar"}, "semi_ar: .*block_length"),
        ({"planner": {"name": "semi_ar", "block_length": 0}}, "block_length must be an integer"),
        ({"planner": {"name": "ascending_blocks", "blocks": "2"}}, "blocks must be an integer"),
        ({"acceptance": {"name": "threshold", "taw": 1}}, "did you mean 'tau'"),
        ({"acceptance": {"name": "threshold", "tau": "high"}}, "tau must be a number, got 'high'"),
        ({"acceptance": "fixed_count"}, "fixed_count: .*schedule"),
        ({"acceptance": {"name": "fixed_count", "schedule": "up"}}, "decoding.schedule: no 'up'"),
        ({"confidence": "probb"}, "decoding.confidence: no 'probb'; did you mean 'prob'"),
        ({"confidence": {"name": "prob", "off": 1}}, "no setting 'off'; did you mean 'of'"),
        ({"confidence_transforms": {"name": "x"}}, "confidence_transforms wants a list"),
        ({"confidence_transforms": ["eoser"]}, "no 'eoser'.*there are: eos_early_rejection"),
        (
            {"confidence_transforms": [{"name": "eos_early_rejection", "planned": True}]},
            "no setting 'planned'",
        ),
        ({"logit_transforms": [{"name": "top_k", "k": 0}]}, "k must be an integer >= 1, got 0"),
        ({"logit_transforms": [{"name": "top_p", "p": 0}]}, r"p must be in \(0, 1\], got 0"),
        ({"logit_transforms": [{"name": "top_k", "k": 1, "affects": "x"}]}, "affects must be"),
        (
            {"logit_transforms": [TOP3, {**TOP3, "affects": "both"}]},
            "affects: both come before",
        ),
        ({"search": {"name": "lookahead"}}, "decoding.search: no 'lookahead'; none is"),
        ({"cache": "prefix"}, "caches want a TransformerDenoiser, got Mixing"),
        ({"stop": {"max_nfe": 0}}, "max_nfe must be an integer >= 1, got 0"),
        ({"stop": {"end": True}}, "decoding.stop: no setting 'end'"),
        ({"stop": 3}, "decoding.stop wants a mapping, got 3"),
        ({"temperature": -1}, "temperature must be >= 0, got -1"),
        ({"temperature": "hot"}, "decoding.temperature wants a number, got 'hot'"),
        ({"cfg_scale": -0.5}, "cfg_scale must be >= 0, got -0.5"),
        ({"gen_length": 2.5}, "decoding.gen_length wants an integer, got 2.5"),
        ({"compact_every": -1}, "compact_every must be >= 1, got -1"),
        ({"execution": "fast"}, "execution must be one of .* got 'fast'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(cfg, words):
    with pytest.raises(ConfigError, match=words):
        build_decoder(cfg, Mixing())
