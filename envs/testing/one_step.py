"""A one-step task that pays only when it ends: lost by anything that drops the terminal reward."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class OneStepEnv(gymnasium.Env[np.ndarray, int]):
    """Each episode is one step; the action that the observation shows is worth +1.

    Args:
        actions: How many actions there are; the observation is the right one as a one-hot row.
        render_mode: Not supported; accepted for ``gymnasium.make``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name and form

    def __init__(self, actions: int = 2, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0.0, 1.0, (actions,), np.float32)
        self.action_space = spaces.Discrete(actions)
        self._actions = actions
        self._right = 0

    def _observation(self) -> np.ndarray:
        obs = np.zeros(self._actions, np.float32)
        obs[self._right] = 1.0
        return obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw the right action."""
        super().reset(seed=seed)
        self._right = int(self.np_random.integers(self._actions))
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """End the episode, with +1 for the right action."""
        return self._observation(), float(action == self._right), True, False, {}
