"""Settings of the runtime: where parts run, who waits for whom, deadlines. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from rlcore.errors import ConfigError

PlacementName = Literal["inline", "local"]
ScheduleName = Literal["serial", "lockstep", "async", "hogwild"]
OnStale = Literal["drop", "wait"]

_STREAMS_WANTED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeConfig:
    """Where acting and learning run, and how far they may drift apart.

    Attributes:
        placement: ``local``, a process for each actor and the learner; ``inline``, one for all.
        schedule: ``serial``, everyone waits; ``lockstep``, acting trails learning by exactly
            ``lag`` versions; ``async``, nobody waits, lag is at most ``max_lag``; ``hogwild``,
            every actor updates shared weights by itself.
        actors: Processes that step environments.
        streams: Groups that the environments are divided into; an actor runs one or more. Null
            takes the largest divisor of ``env.num_envs`` up to 4, for any number of actors.
        lag: Versions between acting and learning in ``lockstep``.
        max_lag: Versions that a trained fragment may be old in ``async``.
        ahead: Fragments that a stream may finish before the learner takes the first (``async``).
        on_stale: What ``async`` does with a fragment about to outgrow ``max_lag``: ``drop`` it and
            count it, or hold the learner back and ``wait`` for it.
        batch: Fragments an update trains on, one a stream; null takes as many as there are streams.
        hogwild_lock: Whether hogwild updates exclude each other; the algorithm needs no lock.
        threads_per_actor: Threads of each actor process.
        start_deadline_s: Seconds (or for example ``2min``) a process may take to start.
        step_deadline_s: Seconds without a sign of life after which an actor is restarted.
        max_restarts: Restarts within ``restart_window_s`` after which the run fails.
        restart_window_s: Seconds that restarts are counted over.
        min_healthy: The run checkpoints and fails as soon as fewer actors than this work, rather
            than train on with those that are left while the others start again.
        memory_limit_mb: Resident memory above which an actor is restarted; null for no limit.
        checksum: Whether each fragment carries a checksum.
    """

    placement: PlacementName = "local"
    schedule: ScheduleName = "async"
    actors: int = 1
    streams: int | None = None
    lag: int = 1
    max_lag: int = 4
    ahead: int = 2
    on_stale: OnStale = "drop"
    batch: int | None = None
    hogwild_lock: bool = False
    threads_per_actor: int = 1
    start_deadline_s: float = 60.0
    step_deadline_s: float = 30.0
    max_restarts: int = 10
    restart_window_s: float = 3600.0
    min_healthy: int = 0
    memory_limit_mb: int | None = None
    checksum: bool = True

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        choices = {"placement": PlacementName, "schedule": ScheduleName, "on_stale": OnStale}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(
                    f"{name} must be one of {', '.join(get_args(allowed))}, "
                    f"got {getattr(self, name)!r}"
                )
        for name in ("actors", "streams", "batch", "threads_per_actor", "memory_limit_mb"):
            _at_least(name, getattr(self, name), 1)
        for name in ("lag", "max_lag", "ahead", "max_restarts", "min_healthy"):
            _at_least(name, getattr(self, name), 0)
        for name in ("start_deadline_s", "step_deadline_s", "restart_window_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be > 0 and finite, got {value:g}")


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ConfigError(f"{name} must be >= {least}, got {value}")


def default_streams(num_envs: int, actors: int, setting: str = "env.num_envs") -> int:
    """Return how many streams ``num_envs`` environments are divided into: a divisor, at most 4.

    It does not depend on ``actors``, so that adding one changes no stream and no batch. Rows of a
    data set are divided likewise; ``setting`` names in messages where the number comes from.

    Raises:
        ConfigError: There are fewer environments or fewer streams than actors.
    """
    if not 1 <= actors <= num_envs:
        raise ConfigError(f"runtime.actors must be in [1, {setting} = {num_envs}], got {actors}")
    streams = max(n for n in range(1, _STREAMS_WANTED + 1) if num_envs % n == 0)
    if streams < actors:
        enough = next(n for n in range(actors, num_envs + 1) if num_envs % n == 0)
        raise ConfigError(
            f"runtime.actors={actors} wants as many streams, and {setting}={num_envs} gives "
            f"{streams} by default: set runtime.streams to {enough} or another divisor from "
            f"{actors} on"
        )
    return streams
