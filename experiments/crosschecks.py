"""Checks that need more than one setting; each names the settings that clash and a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from experiments.binding import Binder
from experiments.registry import type_name
from experiments.schema import ExperimentConfig
from experiments.sources import Path, dotted
from rlcore.errors import ConfigError
from rlcore.runtime.config import default_streams
from rlcore.runtime.schedule import asynchronous

Sections = SimpleNamespace
"""The sections of an experiment by name; ``None`` for one that could not be made."""


def cross_check(binder: Binder) -> None:
    """Add a problem to ``binder`` for every clash of settings that are well by themselves."""
    sections = _sections(binder)
    for check, needed in _CHECKS:
        there = all(getattr(sections, str(path[0])) is not None for path in needed)
        if there and not any(binder.troubled(path) for path in needed):
            check(sections, binder)


def _sections(binder: Binder) -> Sections:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(ExperimentConfig):
        make = field.default_factory
        found[field.name] = None if make is dataclasses.MISSING else make()
    return SimpleNamespace(**found | binder.sections)


def _source(config: Sections, binder: Binder) -> None:
    """An experiment has environments or a data set, and an agent that learns from it."""
    given = [name for name in ("env", "data") if binder.tree.data.get(name) is not None]
    reads = getattr(config.agent, "reads", "env") if config.agent is not None else None
    if len(given) == 2:
        binder.problem(("data",), "'data' and 'env' exclude each other: leave one out", "data")
    elif reads is not None and reads not in given:
        agent = type_name("agent", config.agent)
        what = "a data set" if reads == "data" else "environments"
        other = f", not from '{given[0]}'" if given else ""
        place = (given[0],) if given else (reads,)
        is_missing = "" if given else "is required: "
        binder.problem(place, f"{is_missing}agent '{agent}' learns from {what}{other}", reads)
    elif reads is None and not given:
        binder.problem(("env",), "is required, or 'data'", "env")


def _data(config: Sections, binder: Binder) -> None:
    if config.data is None:
        return
    schedule, rows, parts = config.runtime.schedule, config.data.rows, config.learner.accumulate
    if schedule not in ("serial", "lockstep"):
        binder.problem(
            ("runtime", "schedule"),
            f"must be 'serial' or 'lockstep' with 'data', which is read in order, got '{schedule}'",
            "runtime",
        )
    if rows % parts:
        binder.problem(
            ("learner", "accumulate"),
            f"must divide data.rows ({rows}), got {parts}",
            "learner",
        )


def _only_with(config: Sections, binder: Binder) -> None:
    """Settings that say nothing of what the experiment learns from."""
    if config.env is None and config.data is None:
        return
    for section, name, source, instead in _ONE_SOURCE:
        settings = getattr(config, section)
        default = type(settings).__dataclass_fields__[name].default
        if getattr(settings, name) != default and getattr(config, source) is None:
            hint = f"; set {instead}" if instead else ""
            key = name.rstrip("_")
            binder.problem(
                (section, key), f"goes with '{source}', which is not given{hint}", section
            )


_ONE_SOURCE = (
    ("stop", "env_steps", "env", "stop.tokens"),
    ("stop", "tokens", "data", "stop.env_steps"),
    ("stop", "return_", "env", "stop.loss"),
    ("stop", "loss", "data", "stop.return"),
    ("eval", "rows", "data", ""),
    ("eval", "samples", "data", ""),
    ("checkpoint", "keep_best", "env", ""),
    ("learner", "accumulate", "data", ""),
)


def _held_out(config: Sections, binder: Binder) -> None:
    if config.stop.loss is not None and config.data is not None and config.eval.every is None:
        binder.problem(
            ("stop", "loss"), "needs eval.every, the updates between two measurements", "eval"
        )


def _stop(config: Sections, binder: Binder) -> None:
    stop = config.stop
    limits = (stop.env_steps, stop.tokens, stop.updates, stop.wall_time, stop.return_, stop.loss)
    if all(v is None for v in limits):
        names = "env_steps, updates, wall_time or return"
        if config.data is not None:
            names = "tokens, updates, wall_time or loss"
        binder.problem(("stop",), f"needs a limit: {names}", "stop")


def _width(config: Sections, binder: Binder) -> tuple[int, Path] | None:
    """Return what streams divide among themselves and where it is set; ``None`` if not known."""
    for section, name in (("data", "rows"), ("env", "num_envs")):
        found = getattr(config, section)
        if found is not None and not binder.troubled((section, name)):
            return getattr(found, name), (section, name)
    return None


def _actors(config: Sections, binder: Binder) -> None:
    width = _width(config, binder)
    if width is None:
        return
    runtime, (count, where) = config.runtime, width
    if count < runtime.actors:
        does = "steps" if where[0] == "env" else "reads"
        binder.problem(
            where,
            f"must be >= runtime.actors ({runtime.actors}), got {count}: every actor {does} one",
            str(where[0]),
        )
    elif runtime.streams is not None and runtime.streams < runtime.actors:
        binder.problem(
            ("runtime", "streams"),
            f"must be >= runtime.actors ({runtime.actors}), got {runtime.streams}: every actor "
            "runs one",
            "runtime",
        )
    elif runtime.streams is not None and count % runtime.streams:
        binder.problem(
            ("runtime", "streams"),
            f"must divide {dotted(where)} ({count}), got {runtime.streams}",
            "runtime",
        )
    elif runtime.streams is None:
        try:
            default_streams(count, runtime.actors, dotted(where))
        except ConfigError as error:
            binder.problem(("runtime", "actors"), str(error), "runtime")
    if runtime.min_healthy > runtime.actors:
        binder.problem(
            ("runtime", "min_healthy"),
            f"must be <= runtime.actors ({runtime.actors}), got {runtime.min_healthy}",
            "runtime",
        )


def _batch(config: Sections, binder: Binder) -> None:
    runtime, width = config.runtime, _width(config, binder)
    if width is None:
        return
    try:
        streams = runtime.streams or default_streams(width[0], runtime.actors)
    except ConfigError:
        return  # noted with the actors
    batch = runtime.batch or streams
    if batch > streams:
        message = f"must be <= runtime.streams ({streams}), got {batch}"
        binder.problem(("runtime", "batch"), message, "runtime")
    elif runtime.schedule in ("serial", "lockstep") and batch != streams:
        binder.problem(
            ("runtime", "batch"),
            f"must be runtime.streams ({streams}) or null with schedule '{runtime.schedule}', "
            f"got {batch}",
            "runtime",
        )
    elif runtime.schedule == "async":
        try:
            asynchronous(runtime.max_lag, streams=streams, batch=batch, ahead=runtime.ahead)
        except ConfigError:
            least = -(-streams // batch) - 1
            binder.problem(
                ("runtime", "max_lag"),
                f"must be >= {least} with {streams} streams and {batch} of them an update, got "
                f"{runtime.max_lag}",
                "runtime",
            )


def _schedule(config: Sections, binder: Binder) -> None:
    runtime = config.runtime
    agent = type_name("agent", config.agent)
    place = ("runtime", "schedule")
    lagging = runtime.schedule == "async" and runtime.max_lag > 0
    lagging = lagging or (runtime.schedule == "lockstep" and runtime.lag > 0)
    if agent == "a3c" and lagging:
        lag = "max_lag" if runtime.schedule == "async" else "lag"
        binder.problem(
            place,
            f"'{runtime.schedule}' lets data lag, which agent 'a3c' does not correct for: use "
            f"'hogwild' or 'serial', set runtime.{lag} to 0, or use agent 'impala'",
            "runtime",
        )
    if runtime.schedule == "hogwild" and agent == "impala":
        binder.problem(
            place,
            "'hogwild' trains on what each worker just played, so agent 'impala' has nothing to "
            "correct for: use 'async', or agent 'a3c'",
            "runtime",
        )


def _hogwild(config: Sections, binder: Binder) -> None:
    runtime = config.runtime
    if runtime.schedule != "hogwild":
        return
    if runtime.placement == "inline" and runtime.actors > 1:
        binder.problem(
            ("runtime", "placement"),
            f"'inline' runs one hogwild worker, got runtime.actors {runtime.actors}: use 'local'",
            "runtime",
        )
    if config.learner.device == "cuda":
        binder.problem(
            ("learner", "device"),
            "'cuda' does not go with runtime.schedule 'hogwild': use 'cpu'",
            "learner",
        )


def _anneal(config: Sections, binder: Binder) -> None:
    budget = any(v is not None for v in (config.stop.env_steps, config.stop.tokens,
                                         config.stop.updates))  # fmt: skip
    optimizer = config.learner.optimizer
    counts = "stop.env_steps" if config.data is None else "stop.tokens"
    if getattr(optimizer, "anneal", "none") != "none" and not budget:
        binder.problem(
            ("learner", "optimizer", "anneal"),
            f"'{optimizer.anneal}' needs a budget to anneal over: set {counts} or stop.updates",
            "stop",
        )
    if getattr(optimizer, "warmup", 0.0) and not budget:
        binder.problem(
            ("learner", "optimizer", "warmup"),
            f"is a share of a budget: set {counts} or stop.updates",
            "stop",
        )


def _entropy(config: Sections, binder: Binder) -> None:
    budget = config.stop.env_steps is not None or config.stop.updates is not None
    if getattr(config.agent, "entropy_coef_end", None) is not None and not budget:
        binder.problem(
            ("agent", "entropy_coef_end"),
            "needs a budget to anneal over: set stop.env_steps or stop.updates",
            "stop",
        )


_Check = tuple[Callable[[Sections, Binder], None], tuple[Path, ...]]

_ACTORS: tuple[Path, ...] = (
    ("runtime", "actors"), ("runtime", "streams"), ("runtime", "min_healthy"),
)  # fmt: skip

_CHECKS: tuple[_Check, ...] = (
    (_source, ()),
    (_only_with, (("stop",), ("eval",), ("checkpoint",), ("learner", "accumulate"))),
    (_data, (("data", "rows"), ("runtime", "schedule"), ("learner", "accumulate"))),
    (_held_out, (("stop",), ("eval",))),
    (_stop, (("stop",),)),
    (_actors, _ACTORS),
    (
        _batch,
        (
            *_ACTORS,
            *(("runtime", name) for name in ("batch", "schedule", "max_lag", "ahead")),
        ),
    ),
    (
        _schedule,
        (("agent",), *(("runtime", name) for name in ("schedule", "max_lag", "lag"))),
    ),
    (
        _hogwild,
        (
            ("learner", "device"),
            *(("runtime", name) for name in ("schedule", "placement", "actors")),
        ),
    ),
    (_anneal, (("learner", "optimizer"), ("stop",))),
    (_entropy, (("agent",), ("stop",))),
)
"""Each check with the settings it needs to be well."""
