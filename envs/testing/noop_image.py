"""Images without work: the environment costs nothing, so that a benchmark times the runtime.

Observations are views of frames made once; neither stepping nor resetting copies a pixel.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

_FRAMES = 16


def _frames(shape: tuple[int, ...], envs: int) -> np.ndarray:
    """Return ``[_FRAMES, envs, *shape]`` uint8 noise, the same in every process."""
    rng = np.random.Generator(np.random.PCG64(0))
    return rng.integers(0, 256, (_FRAMES, envs, *shape), np.uint8)


class NoopImageEnv(gymnasium.Env[np.ndarray, int]):
    """Cycles through fixed frames; +1 for action 0; truncated after ``episode_steps``.

    Args:
        shape: Shape of one uint8 observation.
        episode_steps: Length of an episode.
        actions: How many actions there are.
        render_mode: Not supported; accepted for ``gymnasium.make``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name and form

    def __init__(
        self,
        shape: tuple[int, ...] = (84, 84),
        episode_steps: int = 1000,
        actions: int = 6,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)
        self.action_space = spaces.Discrete(actions)
        self.episode_steps = episode_steps
        self._shape = tuple(shape)
        self._frames = _frames(self._shape, 1)[:, 0]
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Go back to frame 0."""
        super().reset(seed=seed)
        self._step = 0
        return self._frames[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Show the next frame."""
        self._step += 1
        obs = self._frames[self._step % _FRAMES]
        return obs, float(action == 0), False, self._step >= self.episode_steps, {}

    def get_state(self) -> dict[str, Any]:
        """Return the step; the frames are fixed."""
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self._step = int(state["step"])


class NoopImageVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """The same without a loop over environments (``NEXT_STEP`` autoreset).

    Episodes of neighbouring environments end at different steps.

    Args:
        num_envs: How many environments.
        shape: Shape of one uint8 observation.
        episode_steps: Length of an episode.
        actions: How many actions there are.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        shape: tuple[int, ...] = (84, 84),
        episode_steps: int = 1000,
        actions: int = 6,
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)
        self.single_action_space = spaces.Discrete(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episode_steps = episode_steps
        self._frames = _frames(tuple(shape), num_envs)
        self._time = 0
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every environment at a step of its own, so that they do not end together."""
        self._time = 0
        self._steps[:] = np.arange(self.num_envs) * self.episode_steps // (2 * self.num_envs)
        self._ended[:] = False
        return self._frames[0], {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show the next frames."""
        self._time += 1
        reset = self._ended
        self._steps += 1
        self._steps[reset] = 0
        truncated = self._steps >= self.episode_steps
        reward = (actions == 0) & ~reset
        self._ended = truncated.copy()
        obs = self._frames[self._time % _FRAMES]
        return obs, reward.astype(np.float32), np.zeros(self.num_envs, bool), truncated, {}

    def get_state(self) -> dict[str, Any]:
        """Return what changes; the frames are fixed."""
        return {"time": self._time, "steps": self._steps.copy(), "ended": self._ended.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self._time = int(state["time"])
        self._steps[:] = state["steps"]
        self._ended = np.array(state["ended"], bool)
