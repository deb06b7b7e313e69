"""Checks that need more than one setting; each names the settings that clash and a way out."""

from __future__ import annotations

from collections.abc import Callable

from experiments.binding import Binder
from experiments.registry import type_name
from experiments.schema import ExperimentConfig
from rlcore.errors import ConfigError
from rlcore.runtime.config import default_streams
from rlcore.runtime.schedule import asynchronous

Check = Callable[[ExperimentConfig, Binder], None]


def cross_check(config: ExperimentConfig, binder: Binder) -> None:
    """Add a problem to ``binder`` for every clash."""
    for check in (_stop, _streams, _schedule, _anneal, _environment):
        check(config, binder)


def _stop(config: ExperimentConfig, binder: Binder) -> None:
    stop = config.stop
    if all(v is None for v in (stop.env_steps, stop.updates, stop.wall_time, stop.return_)):
        binder.problem(("stop",), "needs a limit: env_steps, updates, wall_time or return", "stop")


def _streams(config: ExperimentConfig, binder: Binder) -> None:
    runtime, count = config.runtime, config.env.num_envs
    if count < runtime.actors:
        binder.problem(
            ("env", "num_envs"),
            f"must be >= runtime.actors ({runtime.actors}), got {count}: every actor steps one",
            "env",
        )
        return
    streams = runtime.streams or default_streams(count, runtime.actors)
    if count % streams:
        binder.problem(
            ("runtime", "streams"),
            f"must divide env.num_envs ({count}), got {streams}",
            "runtime",
        )
        return
    _batch(config, binder, streams)


def _batch(config: ExperimentConfig, binder: Binder, streams: int) -> None:
    runtime = config.runtime
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
        except ConfigError as error:
            binder.problem(("runtime", "max_lag"), str(error), "runtime")


def _schedule(config: ExperimentConfig, binder: Binder) -> None:
    runtime = config.runtime
    agent = type_name("agent", config.agent)
    place = ("runtime", "schedule")
    lagging = runtime.schedule == "async" and runtime.max_lag > 0
    lagging = lagging or (runtime.schedule == "lockstep" and runtime.lag > 0)
    if agent == "a3c" and lagging:
        binder.problem(
            place,
            f"'{runtime.schedule}' lets samples lag, which agent 'a3c' does not correct: use "
            "'hogwild' (or 'serial'), or agent 'impala'",
            "runtime",
        )
    if runtime.schedule == "hogwild" and agent == "impala":
        binder.problem(
            place,
            "'hogwild' trains on what each worker just played, so agent 'impala' has nothing to "
            "correct: use agent 'a3c', or 'async'",
            "runtime",
        )
    if runtime.schedule == "hogwild" and runtime.placement == "inline" and runtime.actors > 1:
        binder.problem(
            ("runtime", "placement"),
            f"'inline' runs one Hogwild worker, got runtime.actors={runtime.actors}: use 'local'",
            "runtime",
        )
    if runtime.schedule == "hogwild" and config.learner.device == "cuda":
        binder.problem(
            ("learner", "device"),
            "'cuda' does not go with runtime.schedule 'hogwild': use 'cpu'",
            "learner",
        )


def _anneal(config: ExperimentConfig, binder: Binder) -> None:
    stop = config.stop
    budget = stop.env_steps is not None or stop.updates is not None
    if config.learner.optimizer.anneal == "linear" and not budget:
        binder.problem(
            ("learner", "optimizer", "anneal"),
            "'linear' needs a budget to anneal over: set stop.env_steps or stop.updates",
            "learner.optimizer",
        )
    if getattr(config.agent, "entropy_coef_end", None) is not None and not budget:
        binder.problem(
            ("agent", "entropy_coef_end"),
            "needs a budget to anneal over: set stop.env_steps or stop.updates",
            "agent",
        )


def _environment(config: ExperimentConfig, binder: Binder) -> None:
    """Look the id up in Gymnasium's registry, after importing what registers it."""
    from experiments.env_lookup import find_environment

    try:
        find_environment(config.env)
    except ConfigError as error:
        binder.problem(("env", "id"), str(error), "env")
