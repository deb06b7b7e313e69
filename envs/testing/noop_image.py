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


def _checked(min_steps: int | None, episode_steps: int) -> int | None:
    if min_steps is not None and not 1 <= min_steps <= episode_steps:
        raise ValueError(f"min_steps is {min_steps}, wanted [1, {episode_steps}]")
    return min_steps


class NoopImageEnv(gymnasium.Env[np.ndarray, int]):
    """Cycles through fixed frames; +1 for action 0; truncated after ``episode_steps``.

    Args:
        shape: Shape of one uint8 observation.
        episode_steps: Length of an episode.
        actions: How many actions there are.
        min_steps: If given, each episode's length is drawn from ``[min_steps, episode_steps]``.
        render_mode: Not supported; accepted for ``gymnasium.make``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name and form

    def __init__(
        self,
        shape: tuple[int, ...] = (84, 84),
        episode_steps: int = 1000,
        actions: int = 6,
        min_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)
        self.action_space = spaces.Discrete(actions)
        self.episode_steps = episode_steps
        self.min_steps = _checked(min_steps, episode_steps)
        self._limit = episode_steps
        self._shape = tuple(shape)
        self._frames = _frames(self._shape, 1)[:, 0]
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Go back to frame 0."""
        super().reset(seed=seed)
        self._step = 0
        if self.min_steps is not None:
            self._limit = int(self.np_random.integers(self.min_steps, self.episode_steps + 1))
        return self._frames[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Show the next frame."""
        self._step += 1
        obs = self._frames[self._step % _FRAMES]
        return obs, float(action == 0), False, self._step >= self._limit, {}

    def get_state(self) -> dict[str, Any]:
        """Return what changes; the frames are fixed."""
        random = self.np_random.bit_generator.state
        return {"step": self._step, "limit": self._limit, "random": random}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self._step = int(state["step"])
        self._limit = int(state["limit"])
        self.np_random.bit_generator.state = state["random"]


class NoopImageVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """The same without a loop over environments (``NEXT_STEP`` autoreset).

    Episodes of neighbouring environments end at different steps.

    Args:
        num_envs: How many environments.
        shape: Shape of one uint8 observation.
        episode_steps: Length of an episode.
        actions: How many actions there are.
        min_steps: If given, each episode's length is drawn from ``[min_steps, episode_steps]``.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        shape: tuple[int, ...] = (84, 84),
        episode_steps: int = 1000,
        actions: int = 6,
        min_steps: int | None = None,
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)
        self.single_action_space = spaces.Discrete(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episode_steps = episode_steps
        self.min_steps = _checked(min_steps, episode_steps)
        self._random = np.random.default_rng(0)
        self._limits = np.full(num_envs, episode_steps, np.int64)
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
        if self.min_steps is not None:
            self._random = np.random.default_rng(seed)
            self._steps[:] = 0
            self._draw(np.ones(self.num_envs, bool))
        return self._frames[0], {}

    def _draw(self, which: np.ndarray) -> None:
        low, high = self.min_steps, self.episode_steps + 1
        self._limits[which] = self._random.integers(low, high, int(which.sum()))

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show the next frames."""
        self._time += 1
        reset = self._ended
        self._steps += 1
        self._steps[reset] = 0
        if self.min_steps is not None:
            self._draw(reset)
        truncated = self._steps >= self._limits
        reward = (actions == 0) & ~reset
        self._ended = truncated.copy()
        obs = self._frames[self._time % _FRAMES]
        return obs, reward.astype(np.float32), np.zeros(self.num_envs, bool), truncated, {}

    def get_state(self) -> dict[str, Any]:
        """Return what changes; the frames are fixed."""
        return {
            "time": self._time,
            "steps": self._steps.copy(),
            "limits": self._limits.copy(),
            "ended": self._ended.copy(),
            "random": self._random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self._time = int(state["time"])
        self._steps[:] = state["steps"]
        self._limits[:] = state["limits"]
        self._random.bit_generator.state = state["random"]
        self._ended = np.array(state["ended"], bool)
