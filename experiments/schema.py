"""The sections of an experiment file, as frozen dataclasses; importing this loads no torch.

Components (agent, optimizer, ...) bring their own dataclasses; :mod:`experiments.registry` finds
them by ``type:``. A field whose name ends in ``_`` is written without it: ``return_``, ``return``.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rlcore.errors import ConfigError
from rlcore.learners.config import LearnerConfig
from rlcore.runtime.config import RuntimeConfig

FORMAT_VERSION = 1
MAX_ENVS = 1_000_000
_ENV_ID = re.compile(r"(?:[\w.-]+/)*[\w.-]+")
_METRIC = re.compile(r"[a-z_]+/[a-z0-9_]+")
_FORBID: dict[str, Any] = {"extra": "forbid"}


def _at_least(owner: object, least: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < least:
            raise ConfigError(f"{name.rstrip('_')} must be >= {least:g}, got {value}")


def _positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name.rstrip('_')} must be > 0 and finite, got {value:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig:
    """The environments that actors step.

    Attributes:
        id: Gymnasium id, for example ``CartPole-v1`` or ``ALE/Pong-v5``.
        num_envs: Environments in all actors together.
        preset: A named stack of wrappers: ``atari``, ``classic`` or ``mujoco``.
        kwargs: Arguments of ``gymnasium.make``.
        wrappers: Further wrappers, each with a ``type``.
        vectorization: ``native`` needs a vector form of the environment, ``sync`` steps plain ones
            one by one, ``auto`` takes the first where there is one.
        module: Installed module to import first; it registers the environment.
        check: Check observations and rewards at the boundary.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    id: str
    num_envs: int = 16
    preset: Literal["atari", "classic", "mujoco"] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[dict[str, Any], ...] = ()
    vectorization: Literal["auto", "native", "sync"] = "auto"
    module: str | None = None
    check: bool = True

    def __post_init__(self) -> None:
        _at_least(self, 1, "num_envs")
        if self.num_envs > MAX_ENVS:
            raise ConfigError(f"num_envs must be <= {MAX_ENVS}, got {self.num_envs}")
        if ":" in self.id:
            raise ConfigError(
                f"id must be a registered name, got '{self.id}': name the module in env.module"
            )
        if not _ENV_ID.fullmatch(self.id):
            raise ConfigError(f"id must look like 'CartPole-v1' or 'ALE/Pong-v5', got '{self.id}'")
        if self.module is not None and not all(p.isidentifier() for p in self.module.split(".")):
            raise ConfigError(
                f"module must be a dotted module name, not a path, got '{self.module}'"
            )
        if self.module is not None and self.module.split(".")[0] in sys.stdlib_module_names:
            raise ConfigError(
                f"module must be one that registers environments, got Python's own '{self.module}'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The token data set that is read, in an exact order, instead of stepping environments.

    Attributes:
        path: Folder that ``rlcore data`` made, from the folder the command runs in.
        length: Tokens that a row feeds to the network.
        rows: Rows that an update trains on.
        packing: ``cut`` joins documents and cuts them into rows; ``fit`` puts as many whole ones
            into a row as fit; ``single`` puts one into each.
        response: Tokens that each response is padded to with EOS, which are targets too; null
            leaves responses as they are.
        shuffle: Whether each epoch has an order of its own; otherwise that of the file.
        checksum: Compare the files with their checksums before the run starts.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    path: str
    length: int = 256
    rows: int = 64
    packing: Literal["cut", "fit", "single"] = "cut"
    response: int | None = None
    shuffle: bool = True
    checksum: bool = True

    def __post_init__(self) -> None:
        _at_least(self, 1, "length", "rows", "response")
        if not self.path.strip():
            raise ConfigError("path must not be empty")
        if self.rows > MAX_ENVS:
            raise ConfigError(f"rows must be <= {MAX_ENVS}, got {self.rows}")
        if self.response is not None and self.packing == "cut":
            raise ConfigError(
                "response pads whole responses: it needs packing 'fit' or 'single', got 'cut'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StopConfig:
    """When the run ends: at the first limit reached.

    Attributes:
        env_steps: Environment steps.
        tokens: Tokens read, with ``data``.
        updates: Learner updates.
        wall_time: Training time, for example ``8h``.
        return_: Mean return of the last 100 training episodes.
        loss: Loss on held-out data, with ``data``, measured every ``eval.every`` updates.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    env_steps: int | None = None
    tokens: int | None = None
    updates: int | None = None
    wall_time: float | None = None
    return_: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        _at_least(self, 1, "env_steps", "tokens", "updates")
        _positive(self, "wall_time", "loss")
        if self.return_ is not None and not math.isfinite(self.return_):
            raise ConfigError(f"return must be finite, got {self.return_:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """Evaluation on fresh environments; with ``data``, on its held-out split.

    Attributes:
        every: Environment steps (with ``data``, updates) between evaluations during training; null
            for the final one alone.
        episodes: Whole episodes; 0 for no evaluation.
        deterministic: Take the most likely action instead of sampling.
        num_envs: Environments stepped together; null for up to 10.
        rows: With ``data``, held-out rows to measure; null for all.
        samples: With ``data``, texts that are generated at each evaluation into samples.jsonl.
        sample_tokens: Longest of them, in tokens.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    every: int | None = None
    episodes: int = 100
    deterministic: bool = True
    num_envs: int | None = None
    rows: int | None = None
    samples: int = 0
    sample_tokens: int = 128

    def __post_init__(self) -> None:
        _at_least(self, 0, "episodes", "samples")
        _at_least(self, 1, "every", "num_envs", "rows", "sample_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept.

    Attributes:
        every: Time between checkpoints, for example ``10min``; null for the final one alone.
        keep: How many of the newest to keep.
        keep_best: Metric whose largest value marks one more to keep.
        milestones: Keep for good the first one in each this many environment steps.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    every: float | None = 60.0
    keep: int = 3
    keep_best: str | None = None
    milestones: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "every")
        _at_least(self, 1, "keep", "milestones")
        if self.keep_best is not None and not _METRIC.fullmatch(self.keep_best):
            raise ConfigError(
                f"keep_best must be a metric such as 'eval/return_mean', got '{self.keep_best}'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbConfig:
    """The W&B log. A key belongs into the environment or netrc, never here.

    Attributes:
        mode: ``auto`` is online where a key is set, else offline; ``off`` writes nothing.
        project: Project name.
        entity: User or team.
        group: Group of runs; null for the experiment's name.
        tags: Tags beside agent and environment.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    mode: Literal["auto", "offline", "online", "off"] = "auto"
    project: str = "rlcore"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackConfig:
    """Where metrics go.

    Attributes:
        wandb: The W&B log, or its mode alone.
        tensorboard: Write TensorBoard files.
        jsonl: Write ``metrics.jsonl`` and ``events.jsonl``, which the other commands read.
        console: ``live`` table, ``plain`` lines, ``none``, or ``auto`` by what the output is.
        every: Time between metric records.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    wandb: WandbConfig = field(default_factory=WandbConfig)
    tensorboard: bool = True
    jsonl: bool = True
    console: Literal["auto", "live", "plain", "none"] = "auto"
    every: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "every")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """One experiment.

    Attributes:
        rlcore: Version of the file format.
        name: Name of the experiment; part of the run folder's name.
        seed: Root of every random stream.
        env: The environments; either they or ``data`` are given.
        data: The token data set of an experiment that learns from one.
        agent: The algorithm, by ``type``.
        learner: How batches become parameters.
        runtime: Who runs where and waits for whom.
        stop: When the run ends.
        eval: Evaluation.
        checkpoint: Checkpoints.
        track: Where metrics go.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBID
    rlcore: int = FORMAT_VERSION
    name: str = "experiment"
    seed: int = 0
    env: EnvConfig | None = None
    data: DataConfig | None = None
    agent: Any
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    track: TrackConfig = field(default_factory=TrackConfig)

    def __post_init__(self) -> None:
        if self.rlcore != FORMAT_VERSION:
            raise ConfigError(f"rlcore must be {FORMAT_VERSION}, got {self.rlcore}")
        _at_least(self, 0, "seed")
        if not self.name.strip():
            raise ConfigError("name must not be empty")

    @property
    def width(self) -> int:
        """Environments, or rows an update: what streams divide among themselves."""
        if self.data is not None:
            return self.data.rows
        return 0 if self.env is None else self.env.num_envs

    @property
    def source_name(self) -> str:
        """What the agent learns from: the environment's id, or the data set's folder."""
        return self.data.path if self.data is not None else self.env.id if self.env else ""

    def resolved_types(self) -> dict[str, str]:
        """Return the ``type`` of each component."""
        from experiments.registry import type_name

        return {
            "agent": type_name("agent", self.agent),
            "optimizer": type_name("optimizer", self.learner.optimizer),
            "estimator": type_name("estimator", self.learner.estimator),
            "parallelism": type_name("parallelism", self.learner.parallelism),
        }
