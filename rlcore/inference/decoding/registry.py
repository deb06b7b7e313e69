"""Pipelines from settings: every part by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from rlcore.errors import ConfigError
from rlcore.inference.decoding.acceptance import (
    EntropyBound,
    Factor,
    FixedCount,
    Hierarchical,
    Threshold,
)
from rlcore.inference.decoding.caches import BlockCausalCache, DualCache, NoCache, PrefixCache
from rlcore.inference.decoding.confidence import NAMES, Confidence
from rlcore.inference.decoding.confidence_transforms import EOSEarlyRejection
from rlcore.inference.decoding.denoiser import Denoiser
from rlcore.inference.decoding.logit_transforms import TopK, TopP
from rlcore.inference.decoding.pipeline import DecodingPipeline
from rlcore.inference.decoding.planners import (
    AscendingBlocks,
    BlockCausal,
    FullSequence,
    SemiAR,
)
from rlcore.inference.decoding.schedules import (
    AscendingSchedule,
    CosineSchedule,
    CustomSchedule,
    UniformSchedule,
)
from rlcore.inference.decoding.stop import StopRule

REGISTRY: dict[str, dict[str, Callable[..., Any]]] = {
    "planner": {
        "full": FullSequence,
        "semi_ar": SemiAR,
        "ascending_blocks": AscendingBlocks,
        "block_causal": BlockCausal,
    },
    "schedule": {
        "uniform": UniformSchedule,
        "ascending": AscendingSchedule,
        "cosine": CosineSchedule,
        "custom": CustomSchedule,
    },
    "acceptance": {
        "fixed_count": FixedCount,
        "threshold": Threshold,
        "factor": Factor,
        "hierarchical": Hierarchical,
        "entropy_bound": EntropyBound,
    },
    "confidence_transforms": {"eos_early_rejection": EOSEarlyRejection},
    "logit_transforms": {"top_k": TopK, "top_p": TopP},
    "cache": {
        "none": NoCache,
        "block_causal": BlockCausalCache,
        "prefix": PrefixCache,
        "dual": DualCache,
    },
    "search": {},
}
"""Parts by kind and name; a new part is entered here."""

_SETTINGS = (
    "gen_length",
    "planner",
    "acceptance",
    "confidence",
    "confidence_transforms",
    "logit_transforms",
    "search",
    "cache",
    "stop",
    "temperature",
    "cfg_scale",
    "compact_every",
    "execution",
)
_HIDDEN = {"eos_early_rejection": {"ascending", "planned"}}


def build_decoder(cfg: Mapping[str, Any], denoiser: Denoiser) -> DecodingPipeline:
    """Return the pipeline that a mapping describes, as read from a YAML file.

    A part is its name, or a mapping with ``name`` and its settings::

        gen_length: 64
        planner: {name: semi_ar, block_length: 16}
        acceptance: {name: fixed_count, schedule: {name: uniform, steps: 32}}
        confidence: {name: prob, of: sample}
        confidence_transforms: [{name: eos_early_rejection, gamma_min: 0.4}]
        stop: {eos: false}

    Raises:
        ConfigError: A key, a name or a value is wrong; the message names it and its place.
    """
    if not isinstance(cfg, Mapping):
        raise ConfigError(f"decoding wants a mapping, got {type(cfg).__name__}")
    cfg = cfg.get("decoding", cfg) if set(cfg) == {"decoding"} else cfg
    _check_keys("decoding", cfg, _SETTINGS)
    if cfg.get("search") is not None:
        _part("search", cfg["search"])
    return DecodingPipeline(
        denoiser,
        _part("planner", cfg.get("planner", "full")),
        _part("acceptance", cfg.get("acceptance", "threshold")),
        confidence=_confidence(cfg.get("confidence"), cfg.get("acceptance")),
        logit_transforms=_parts("logit_transforms", cfg),
        confidence_transforms=_parts("confidence_transforms", cfg),
        cache=_part("cache", cfg.get("cache") or "none"),
        stop=_stop(cfg.get("stop") or {}),
        temperature=_number(cfg, "temperature", 0.0),
        guidance=_number(cfg, "cfg_scale", 0.0),
        gen_length=_integer(cfg, "gen_length"),
        compact_every=_integer(cfg, "compact_every") or 4,
        execution=str(cfg.get("execution", "auto")),
    )


def _part(kind: str, value: Any) -> Any:
    """Return one part from its name or its mapping."""
    settings = _named(kind, value)
    name = settings.pop("name")
    known = REGISTRY[kind]
    if name not in known:
        raise ConfigError(f"decoding.{kind}: no {name!r}; {_choices(name, list(known))}")
    make = known[name]
    fields = [f for f in signature(make).parameters if f not in _HIDDEN.get(name, ())]
    _check_keys(f"decoding.{kind} {name}", settings, fields)
    if "schedule" in settings:
        settings["schedule"] = _part("schedule", settings["schedule"])
    try:
        return make(**settings)
    except TypeError as error:
        raise ConfigError(f"decoding.{kind} {name}: {error}") from error


def _parts(kind: str, cfg: Mapping[str, Any]) -> list[Any]:
    values = cfg.get(kind) or []
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"decoding.{kind} wants a list, got {values!r}")
    return [_part(kind, value) for value in values]


def _named(kind: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ConfigError(
            f"decoding.{kind} wants a name, or a mapping with a name and settings, got {value!r}"
        )
    return dict(value)


def _confidence(value: Any, acceptance: Any) -> Confidence:
    if value is None:
        bound = acceptance is not None and _named("acceptance", acceptance)["name"]
        return Confidence("neg_entropy" if bound == "entropy_bound" else "prob")
    settings = _named("confidence", value)
    if settings["name"] not in NAMES:
        raise ConfigError(
            f"decoding.confidence: no {settings['name']!r}; {_choices(settings['name'], NAMES)}"
        )
    _check_keys("decoding.confidence", settings, ("name", "of"))
    return Confidence(**settings)


def _stop(value: Any) -> StopRule:
    if not isinstance(value, Mapping):
        raise ConfigError(f"decoding.stop wants a mapping, got {value!r}")
    _check_keys("decoding.stop", value, ("eos", "max_nfe"))
    return StopRule(**value)


def _number(cfg: Mapping[str, Any], key: str, default: float) -> float:
    value = cfg.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ConfigError(f"decoding.{key} wants a number, got {value!r}")
    return float(value)


def _integer(cfg: Mapping[str, Any], key: str) -> int | None:
    value = cfg.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ConfigError(f"decoding.{key} wants an integer, got {value!r}")
    return value


def _check_keys(place: str, found: Mapping[str, Any], known: Any) -> None:
    for key in found:
        if key not in known:
            raise ConfigError(f"{place}: no setting {key!r}; {_choices(str(key), list(known))}")


def _choices(found: str, known: Any) -> str:
    if not known:
        return "none is registered"
    near = get_close_matches(found, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}there are: {', '.join(known)}"
