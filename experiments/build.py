"""From a validated experiment to the parts that the runtime runs, in any process."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from experiments.data_parts import open_data
from experiments.schema import EnvConfig, ExperimentConfig
from rlcore.data.env_spec import BoxActions, DiscreteActions, EnvSpec
from rlcore.data.seeding import derive_seed
from rlcore.errors import ConfigError, EnvContractError, RlcoreError
from rlcore.runtime.env_stream import EnvStream, open_stream

if TYPE_CHECKING:
    from rlcore.learners.base import Learner
    from rlcore.runtime.contracts import RowSource, Validation


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at an environment tells.

    Attributes:
        spec: Observation and action arrays.
        autoreset: ``next_step`` or ``same_step``.
    """

    spec: EnvSpec
    autoreset: str

    def to_json(self) -> dict[str, Any]:
        """Return the probe as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Probe:
        """Restore what ``to_json`` returned (tuples may have become lists)."""
        spec = dict(values["spec"])
        actions = spec.pop("actions")
        if "n" in actions:
            spec["actions"] = DiscreteActions(actions["n"])
        else:
            spec["actions"] = BoxActions(
                tuple(actions["shape"]), tuple(actions["low"]), tuple(actions["high"])
            )
        spec["obs_shape"] = tuple(spec["obs_shape"])
        return cls(EnvSpec(**spec), values["autoreset"])


class ExperimentParts:
    """The parts of one experiment (see :class:`rlcore.runtime.plan.Parts`).

    Args:
        config: The experiment.
        streams: Streams that its environments, or the rows of an update, are divided into.
        probe: What the environment looks like; looked up by making one if absent.
        verify: Whether a data set is compared with its checksums.
        run_dir: Folder of the run, where evaluations leave files.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        streams: int,
        probe: Probe | None = None,
        *,
        verify: bool = True,
        run_dir: str | Path | None = None,
    ) -> None:
        self.config = config
        self.envs = config.width // streams
        self.probe = probe
        self.env_spec: EnvSpec | None = None
        self.rows: RowSource | None = None
        self.validation: Validation | None = None
        if config.data is not None:
            data = open_data(config, verify=verify, run_dir=run_dir)
            self.agent, self.rows, self.validation = data.agent, data.rows, data.validation
        elif config.env is not None:
            self.probe = probe or probe_env(config.env, config.seed, self.envs)
            self.env_spec = self.probe.spec
            self.agent = config.agent.build(self.env_spec)

    def make_stream(self, index: int, label: str) -> EnvStream:
        """Return the environments of one stream."""
        assert self.config.env is not None
        return make_stream(self.config.env, self.envs, label=f"{label}, stream {index}")

    def make_learner(self, network: nn.Module, **options: Any) -> Learner:
        """Return the learner that the experiment asks for."""
        learner: Learner = self.config.learner.build(
            network, reduction=self.agent.reduction, **options
        )
        return learner


def make_stream(
    env: EnvConfig,
    count: int,
    *,
    label: str = "",
    render_mode: str | None = None,
    evaluation: bool = False,
) -> EnvStream:
    """Return ``count`` environments as one stream.

    Args:
        env: Which environment, with which wrappers.
        count: How many advance together.
        label: Names the owner in error messages.
        render_mode: Passed to ``gymnasium.make``.
        evaluation: Leave out wrappers that only help training (lives as episodes).
    """
    from envs.make import make_envs

    made = make_envs(
        env.id,
        count,
        preset=env.preset,
        kwargs=dict(env.kwargs),
        wrappers=env.wrappers,
        vectorization="sync" if render_mode else env.vectorization,
        module=env.module,
        render_mode=render_mode,
        evaluation=evaluation,
    )
    return open_stream(made, env_id=env.id, label=label, check=env.check)


def probe_env(env: EnvConfig, seed: int, count: int) -> Probe:
    """Make the environment once, reset it and return what it looks like.

    Raises:
        EnvContractError: It fails or breaks the Gymnasium contract on its first reset.
    """
    import numpy as np

    stream = make_stream(env, count, label="probe")
    try:
        spec = stream.spec
        obs = np.zeros((count, *spec.obs_shape), spec.obs_dtype)
        seeds = [derive_seed(seed, "probe", i) >> 32 for i in range(count)]
        with _first_reset(env.id):
            stream.reset(seeds, obs, np.zeros(count, bool))
        return Probe(spec, stream.autoreset)
    finally:
        stream.close()


@contextlib.contextmanager
def _first_reset(id: str) -> Iterator[None]:
    try:
        yield
    except RlcoreError:
        raise
    except Exception as error:
        # The environment is the user's: what it raises is told with its place.
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise EnvContractError(
            f"{id} failed on its first reset: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno})"
        ) from error


def build_parts(config: dict[str, Any]) -> ExperimentParts:
    """Make the parts in a child process from the JSON that :func:`plan_config` made.

    Raises:
        ConfigError: The JSON is not from this version.
    """
    from experiments.validate import load_config

    try:
        tree, streams, probe = config["experiment"], config["streams"], config["probe"]
    except KeyError as error:
        raise ConfigError(f"the plan of the run lacks {error}") from None
    return ExperimentParts(
        load_config(tree, look_up=False).config,
        streams,
        None if probe is None else Probe.from_json(probe),
        verify=False,
        run_dir=config.get("run_dir"),
    )


def plan_config(
    tree: dict[str, Any], streams: int, probe: Probe | None, run_dir: str | Path | None = None
) -> dict[str, Any]:
    """Return what :func:`build_parts` needs, as JSON-able values."""
    return {
        "experiment": tree,
        "streams": streams,
        "probe": None if probe is None else probe.to_json(),
        "run_dir": None if run_dir is None else str(run_dir),
    }
