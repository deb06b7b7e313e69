"""The plan of a run: every number the runtime needs, checked once, handed on as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from torch import nn

from rlcore.data.env_spec import EnvSpec
from rlcore.data.fragment import MAX_FULL_FINAL_OBS_BYTES, row_fields, runtime_fields
from rlcore.data.spec import Field
from rlcore.errors import ConfigError
from rlcore.learners.base import Learner
from rlcore.runtime.contracts import Learns, RowSource, Validation
from rlcore.runtime.env_stream import EnvStream
from rlcore.runtime.schedule import Schedule, asynchronous, lockstep
from rlcore.runtime.stop import StopLimits


class Parts(Protocol):
    """What an experiment gives to the runtime: how to make each part, in any process.

    Attributes:
        agent: The algorithm; one that acts where there are environments.
        env_spec: Observations and actions; ``None`` where the experiment reads a data set.
        rows: The data set; ``None`` where the experiment has environments.
        validation: What measures the network between updates, if anything does.
    """

    agent: Learns
    env_spec: EnvSpec | None
    rows: RowSource | None
    validation: Validation | None

    def make_stream(self, index: int, label: str) -> EnvStream:
        """Return the environments of stream ``index``; ``label`` names the actor in errors."""
        ...

    def make_learner(self, network: nn.Module, **options: Any) -> Learner:
        """Return a learner that trains ``network``; Hogwild passes shared memory in ``options``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """Geometry, schedule and limits of one run.

    Attributes:
        factory: ``module:function`` that makes :class:`Parts` from ``config`` in any process.
        config: The resolved experiment, JSON-able.
        run_dir: Folder the run writes to.
        streams: Streams in all; ``envs`` environments or rows each; ``batch`` fragments an update.
        hogwild_lock: Serialise Hogwild updates; the algorithm needs no lock.
        final_obs_capacity: Final observations a fragment may hold (0 with NEXT_STEP autoreset).
        accumulate: Parts that the rows of an update are split into, to bound its memory.
        resume: Checkpoint folder to go on from.
        epoch: How many times this run was started before (changes restarted episodes' seeds).
    """

    factory: str
    config: dict[str, Any]
    run_dir: str
    seed: int
    actors: int
    streams: int
    envs: int
    batch: int
    schedule: str
    lag: int = 0
    max_lag: int = 4
    ahead: int = 2
    on_stale: str = "drop"
    final_obs_capacity: int = 0
    hogwild_lock: bool = False
    checksum: bool = True
    threads_per_actor: int = 1
    learner_threads: int = 1
    accumulate: int = 1
    device: str = "cpu"
    start_deadline_s: float = 60.0
    step_deadline_s: float = 30.0
    max_restarts: int = 10
    restart_window_s: float = 3600.0
    min_healthy: int = 0
    memory_limit_mb: int | None = None
    report_every_s: float = 1.0
    checkpoint_every_s: float | None = 60.0
    checkpoint_keep: int = 3
    milestones: int | None = None
    keep_best: str | None = None
    config_hash: str = ""
    stop: dict[str, Any] = field(default_factory=dict)
    resume: str | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.actors < 1 or self.streams < self.actors:
            raise ConfigError(
                f"every actor needs a stream: got runtime.actors={self.actors} and "
                f"runtime.streams={self.streams}"
            )
        self.make_schedule()

    def make_schedule(self) -> Schedule:
        """Return the schedule policy."""
        if self.schedule in ("serial", "hogwild"):
            return lockstep(0)
        if self.schedule == "lockstep":
            if self.batch != self.streams:
                raise ConfigError(
                    f"lockstep trains on one fragment of every stream: wanted "
                    f"runtime.batch={self.streams}, got {self.batch}"
                )
            return lockstep(self.lag)
        if self.schedule == "async":
            return asynchronous(
                self.max_lag,
                streams=self.streams,
                batch=self.batch,
                ahead=self.ahead,
                on_stale=self.on_stale,
            )
        raise ConfigError(
            f"runtime.schedule must be serial, lockstep, async or hogwild, got {self.schedule!r}"
        )

    def limits(self) -> StopLimits:
        """Return the stop limits."""
        return StopLimits(**self.stop)

    def streams_of(self, actor: int) -> list[int]:
        """Return the streams that ``actor`` runs."""
        return list(range(actor, self.streams, self.actors))

    def fragment_spec(self, parts: Parts) -> dict[str, Field]:
        """Return all arrays of one fragment: the runtime's and the agent's.

        Raises:
            ConfigError: The agent declares a field that the runtime owns.
        """
        env, agent = parts.env_spec, parts.agent
        if env is not None:
            fields = runtime_fields(
                env.obs_shape,
                env.obs_dtype,
                env.action_shape,
                env.action_dtype,
                unroll=agent.unroll,
                envs=self.envs,
                final_obs_capacity=self.final_obs_capacity,
            )
        elif parts.rows is not None:
            fields = row_fields(parts.rows.fields())
        else:
            raise ConfigError("an experiment needs environments or a data set; it has neither")
        extra = dict(agent.spec())
        clash = sorted(set(fields) & set(extra))
        if clash:
            raise ConfigError(f"the agent declares fields of the runtime: {', '.join(clash)}")
        return fields | extra

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunPlan:
        """Restore what ``to_json`` returned."""
        return cls(**values)


def final_obs_capacity(obs_bytes: int, *, unroll: int, envs: int, autoreset: str) -> int:
    """Return how many final observations a fragment should be able to hold.

    NEXT_STEP autoreset shows the final observation as the next one, so none are stored. With
    SAME_STEP small observations get a place for every step; large ones two per environment, and an
    actor that runs out of places closes its fragment early (counted as padded rows).
    """
    if autoreset == "next_step":
        return 0
    if unroll * envs * obs_bytes <= MAX_FULL_FINAL_OBS_BYTES:
        return unroll * envs
    return min(unroll, 2) * envs


def factory_name(factory: Callable[..., Parts]) -> str:
    """Return the ``module:function`` name under which child processes import ``factory``.

    Raises:
        ConfigError: It is not a module-level function.
    """
    if "<" in factory.__qualname__ or factory.__module__ == "__main__":
        raise ConfigError(
            f"child processes cannot import {factory.__module__}.{factory.__qualname__}; "
            "wanted a function at the top of an importable module"
        )
    return f"{factory.__module__}:{factory.__qualname__}"
