"""Checks that need more than one setting; each names the settings that clash and a way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from experiments.binding import Binder
from experiments.registry import type_name
from experiments.schema import ExperimentConfig
from experiments.sources import Path
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


def _stop(config: Sections, binder: Binder) -> None:
    stop = config.stop
    if all(v is None for v in (stop.env_steps, stop.updates, stop.wall_time, stop.return_)):
        binder.problem(("stop",), "needs a limit: env_steps, updates, wall_time or return", "stop")


def _actors(config: Sections, binder: Binder) -> None:
    runtime, count = config.runtime, config.env.num_envs
    if count < runtime.actors:
        binder.problem(
            ("env", "num_envs"),
            f"must be >= runtime.actors ({runtime.actors}), got {count}: every actor steps one",
            "env",
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
            f"must divide env.num_envs ({count}), got {runtime.streams}",
            "runtime",
        )
    elif runtime.streams is None:
        try:
            default_streams(count, runtime.actors)
        except ConfigError as error:
            binder.problem(("runtime", "actors"), str(error), "runtime")
    if runtime.min_healthy > runtime.actors:
        binder.problem(
            ("runtime", "min_healthy"),
            f"must be <= runtime.actors ({runtime.actors}), got {runtime.min_healthy}",
            "runtime",
        )


def _batch(config: Sections, binder: Binder) -> None:
    runtime = config.runtime
    try:
        streams = runtime.streams or default_streams(config.env.num_envs, runtime.actors)
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
    budget = config.stop.env_steps is not None or config.stop.updates is not None
    if getattr(config.learner.optimizer, "anneal", "none") != "none" and not budget:
        binder.problem(
            ("learner", "optimizer", "anneal"),
            f"'{config.learner.optimizer.anneal}' needs a budget to anneal over: set "
            "stop.env_steps or stop.updates",
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
    ("env", "num_envs"), ("runtime", "actors"), ("runtime", "streams"), ("runtime", "min_healthy"),
)  # fmt: skip

_CHECKS: tuple[_Check, ...] = (
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
