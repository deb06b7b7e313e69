"""The presets ``classic`` and ``mujoco``: float32 observations, actions in [-1, 1]."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from envs.preset_options import check_flag, check_whole
from rlcore.errors import ConfigError, MissingDependencyError


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlOptions:
    """Options of the presets ``classic`` and ``mujoco``: keys of ``env.kwargs``.

    Other keys are arguments of the environment itself.

    Attributes:
        action_repeat: Steps that an action is held for; their rewards are added up.
        rescale_actions: Map continuous actions from [-1, 1] to the environment's range.
        max_episode_steps: Another time limit than the registered one, in the environment's steps.
    """

    action_repeat: int = 1
    rescale_actions: bool = True
    max_episode_steps: int | None = None

    def __post_init__(self) -> None:
        check_whole("action_repeat", self.action_repeat, 10_000)
        if self.max_episode_steps is not None:
            check_whole("max_episode_steps", self.max_episode_steps, 2**31 - 1)
        check_flag("rescale_actions", self.rescale_actions)


class ControlPreset:
    """Makes environments of one of Gymnasium's collections with the usual preprocessing.

    Args:
        spec: Gymnasium's entry of the environment.
        options: The keys of :class:`ControlOptions`, and arguments of the environment.
        evaluation: Makes no difference.

    Raises:
        ConfigError: The environment is of another collection, or an option is wrong.
        MissingDependencyError: The simulator is not installed.
    """

    name: ClassVar[str]
    collection: ClassVar[str]
    package: ClassVar[str | None] = None

    def __init__(self, spec: Any, options: Mapping[str, Any], *, evaluation: bool = False) -> None:
        if not str(spec.entry_point).startswith(self.collection):
            raise ConfigError(
                f"env.preset: {self.name} is for the environments of {self.collection}, "
                f"and {spec.id} is none of them",
                setting=("env", "preset"),
            )
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            raise MissingDependencyError(
                f"{spec.id} needs {self.package}; install the extra: "
                f'pip install "rlcore[{self.name}]"'
            )
        known = {field.name for field in fields(ControlOptions)}
        self.spec = spec
        self.options = ControlOptions(**{k: v for k, v in options.items() if k in known})
        self.arguments = {key: value for key, value in options.items() if key not in known}

    @property
    def has_native(self) -> bool:
        """Whether Gymnasium's vector form of the environment gives the same."""
        return self.spec.vector_entry_point is not None and self.options.action_repeat == 1

    def native(self, num_envs: int) -> Any:
        """Return Gymnasium's vector form."""
        import gymnasium

        return gymnasium.make_vec(
            self.spec.id, num_envs, vectorization_mode="vector_entry_point", **self._arguments()
        )

    def plain(self, render_mode: str | None = None) -> Any:
        """Return one environment in its wrappers."""
        import gymnasium
        import numpy as np
        from gymnasium.spaces import Box
        from gymnasium.wrappers import DtypeObservation, RescaleAction

        from envs.wrappers import ActionRepeat

        drawn: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        env = gymnasium.make(self.spec.id, disable_env_checker=True, **drawn, **self._arguments())
        if env.observation_space.dtype != np.float32:
            with warnings.catch_warnings():  # of bounds that float32 does not hold: infinity
                warnings.filterwarnings("ignore", message=".*precision lowered by casting")
                env = DtypeObservation(env, np.float32)
        if self.options.rescale_actions and isinstance(env.action_space, Box):
            env = RescaleAction(env, np.float32(-1.0), np.float32(1.0))
        if self.options.action_repeat > 1:
            env = ActionRepeat(env, self.options.action_repeat)
        return env

    def _arguments(self) -> dict[str, Any]:
        limit = self.options.max_episode_steps
        return self.arguments | ({} if limit is None else {"max_episode_steps": limit})


class ClassicPreset(ControlPreset):
    """Classic control with actions in [-1, 1]; CartPole in Gymnasium's own vector form."""

    name = "classic"
    collection = "gymnasium.envs.classic_control"


class MujocoPreset(ControlPreset):
    """MuJoCo locomotion and reaching with float32 observations and actions in [-1, 1]."""

    name = "mujoco"
    collection = "gymnasium.envs.mujoco"
    package = "mujoco"
