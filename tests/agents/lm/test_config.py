"""Settings of language-model experiments: what is wrong is shown where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.lm.config import LMConfig, LMNetworkConfig
from experiments.errors import ConfigProblems
from experiments.explain import explain
from experiments.planning import math_hash
from experiments.validate import load_config
from rlcore.data.tokens.spec import TokenSpec
from rlcore.errors import ConfigError

GOOD = """\
data: {path: here, rows: 8}
agent: lm
runtime: {schedule: serial}
stop: {updates: 5}
"""


def message(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(text)
    with pytest.raises(ConfigProblems) as caught:
        load_config("a.yaml")
    return str(caught.value)


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    resolved = load_config(tmp_path / "a.yaml")
    assert resolved.config.width == 8
    assert resolved.config.source_name == "here"
    assert "env" not in resolved.tree
    assert "# derived: tokens of an update <= 2048 (data.rows x data.length)\n" in resolved.text
    assert load_config(resolved.tree).hash == resolved.hash


def test_control_experiments_keep_their_tree_and_hash() -> None:
    """An experiment without ``data`` says nothing of it, so that older runs can be resumed."""
    tree = load_config({"env": "CartPole-v1", "agent": "impala", "stop": {"updates": 5}},
                       look_up=False).tree  # fmt: skip
    assert "data" not in tree
    assert math_hash(tree) == math_hash({**tree, "stop": {"updates": 6}})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "data: {path: here, rows: 8}",
            "",
            "data   is required: agent 'lm' learns from a data set",
        ),
        (
            "data: {path: here, rows: 8}",
            "env: CartPole-v1",
            "env   agent 'lm' learns from a data set, not from 'env'",
        ),
        (
            "agent: lm",
            "agent: lm\nenv: CartPole-v1",
            "data   'data' and 'env' exclude each other: leave one out",
        ),
        ("agent: lm", "agent: impala", "data   agent 'impala' learns from environments, not from"),
        ("path: here, ", "", "data.path   is required"),
        ("rows: 8", "rows: 0", "data.rows   must be >= 1, got 0"),
        ("rows: 8", "packing: tight", "must be one of 'cut', 'fit', 'single', got 'tight'"),
        ("rows: 8", "response: 4", "data.response   pads whole responses"),
        ("rows: 8", "row: 8", "unknown key; did you mean 'rows'?"),
        ("schedule: serial", "schedule: async", "must be 'serial' or 'lockstep' with 'data'"),
        ("schedule: serial", "schedule: hogwild", "must be 'serial' or 'lockstep' with 'data'"),
        ("schedule: serial", "schedule: serial, actors: 9", "must be >= runtime.actors (9), got 8"),
        ("schedule: serial", "schedule: serial, streams: 3", "must divide data.rows (8), got 3"),
        ("updates: 5", "env_steps: 5", "stop.env_steps   goes with 'env', which is not given; set"),
        ("updates: 5", "return: 5", "stop.return   goes with 'env'"),
        ("updates: 5", "loss: 1.5", "stop.loss   needs eval.every"),
        (
            "agent: lm",
            "agent: lm\ncheckpoint: {keep_best: eval/return_mean}",
            "checkpoint.keep_best   goes with 'env'",
        ),
        ("{updates: 5}", "{}", "needs a limit: tokens, updates, wall_time or loss"),
        ("agent: lm", "agent: {type: lm, objective: both}", "one of 'causal', 'diffusion'"),
        ("agent: lm", "agent: {type: lm, normalise: response}", "goes with objective 'diffusion'"),
        ("agent: lm", "agent: {type: lm, eps: 2}", "agent.eps   must be in [0, 1], got 2"),
        ("agent: lm", "agent: {type: lm, balance_coef: -1}", "agent.balance_coef   must be >= 0"),
        ("agent: lm", "agent: {type: lm, network: {dropout: 1}}", "must be in [0, 1), got 1"),
        (
            "agent: lm",
            "agent: {type: lm, random_length_share: 0.01}",
            "agent.random_length_share   goes with objective 'diffusion', got 0.01 with 'causal'",
        ),
        ("agent: lm", "agent: {type: lm, network: {experts: -1}}", "experts   must be >= 0"),
        (
            "agent: lm",
            "agent: {type: lm, network: {experts: 2, experts_per_token: 3}}",
            "moe wants 1 <= top_k <= experts, got top_k=3, experts=2",
        ),
        (
            "agent: lm",
            "agent: {type: lm, network: {attention_dropout: -0.1}}",
            "network.attention_dropout   must be in [0, 1), got -0.1",
        ),
        ("agent: lm", "agent: {type: lm, network: {dim: 10, heads: 4}}", "multiple of heads"),
        ("agent: lm", "agent: lm\nlearner: {accumulate: 3}", "must divide data.rows (8), got 3"),
        (
            "agent: lm",
            "agent: lm\nlearner: {optimizer: {type: adamw, warmup: 0.1}}\nX: 1",
            "unknown key",
        ),
    ],
)
def test_problems_are_shown_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    found = message(tmp_path, GOOD.replace(old, new), monkeypatch)
    assert expected in found
    assert "\n       |" in found or not new, found  # the line, with carets under the place


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("stop: {tokens: 5}", "stop.tokens   goes with 'data', which is not given"),
        ("stop: {updates: 5, loss: 1}", "stop.loss   goes with 'data'"),
        ("stop: {updates: 5}\neval: {rows: 3}", "eval.rows   goes with 'data'"),
        ("stop: {updates: 5}\neval: {samples: 3}", "eval.samples   goes with 'data'"),
        ("stop: {updates: 5}\nlearner: {accumulate: 2}", "learner.accumulate   goes with 'data'"),
    ],
)
def test_settings_of_data_sets_are_refused_beside_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, expected: str
) -> None:
    text = f"env: CartPole-v1\nagent: impala\n{section}\n"
    assert expected in message(tmp_path, text, monkeypatch)


def test_a_warm_up_and_an_anneal_need_a_budget(tmp_path, monkeypatch) -> None:
    text = GOOD.replace("updates: 5", "wall_time: 5s")
    for setting in ("warmup: 0.1", "anneal: cosine"):
        more = f"learner: {{optimizer: {{type: adamw, {setting}}}}}\n"
        assert "set stop.tokens or stop.updates" in message(tmp_path, text + more, monkeypatch)


def spec(**changes: Any) -> TokenSpec:
    return TokenSpec(**{"vocab_size": 12, "length": 8, **changes})


SMALL = LMNetworkConfig(dim=16, layers=1, heads=2)


@pytest.mark.parametrize(
    ("config", "token_spec", "expected"),
    [
        (LMConfig(objective="diffusion", network=SMALL), spec(folder="d"), "data set d does not"),
        (
            LMConfig(objective="diffusion", normalise="response", network=SMALL),
            spec(mask_id=3),
            "needs one document a row: set data.packing to 'single', got 'cut'",
        ),
        (
            LMConfig(network=LMNetworkConfig(dim=16, layers=1, heads=2, position_tables=((0, 1),))),
            spec(),
            "a row for each of the 8 positions, got 2",
        ),
    ],
)
def test_agents_that_do_not_fit_their_data(config, token_spec, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config.build(token_spec)


def test_settings_explain_themselves() -> None:
    assert "objective" in explain("agent.lm")
    assert "default: cut" in explain("data.packing")
    assert "section" in explain("data")
    assert "default: 1" in explain("learner.accumulate")
