"""An environment that counts: every observation, reward and episode end is known in advance.

Episode ``k`` of an environment reset with ``seed`` follows entry ``(seed + k) % len(schedule)`` of
the schedule. Before step ``t`` of it the observation is ``[seed % 2**16, k, t]``, and the reward
of step ``t`` is ``k + (t + 1) / 64``, which float32 holds exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

Schedule = Sequence[tuple[int, str]]

DEFAULT_SCHEDULE: Schedule = ((3, "terminated"), (5, "truncated"), (1, "terminated"), (4, "both"))
"""Episode lengths, each with the way the episode ends."""

_ENDS = {"terminated": (True, False), "truncated": (False, True), "both": (True, True)}
_OBS_SPACE = spaces.Box(0.0, 2.0**31, (3,), np.float32)
_ACTION_SPACE = spaces.Discrete(2)


class _Counter:
    """The state of one environment: which episode, which step."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = [(int(length), str(end)) for length, end in schedule]
        bad = [entry for entry in self.schedule if entry[0] < 1 or entry[1] not in _ENDS]
        if bad or not self.schedule:
            raise ValueError(f"schedule {schedule!r}: wanted (length >= 1, end), end in {[*_ENDS]}")
        self.seed = 0
        self.episode = -1
        self.step = 0

    def reset(self, seed: int | None) -> None:
        if seed is not None:
            self.seed, self.episode = seed, -1
        self.episode += 1
        self.step = 0

    def advance(self) -> tuple[float, bool, bool]:
        length, end = self.schedule[(self.seed + self.episode) % len(self.schedule)]
        if self.step >= length:
            raise RuntimeError(f"step after the end of episode {self.episode}: reset first")
        self.step += 1
        terminated, truncated = _ENDS[end] if self.step == length else (False, False)
        return self.episode + self.step / 64, terminated, truncated

    def observation(self) -> tuple[int, int, int]:
        return self.seed % 2**16, self.episode, self.step


class CountingEnv(gymnasium.Env[np.ndarray, int]):
    """The counting environment as a plain environment.

    Args:
        schedule: ``(length, "terminated" | "truncated" | "both")`` of one episode after the other.
        render_mode: Not supported; accepted for ``gymnasium.make``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name and form
    observation_space = _OBS_SPACE
    action_space = _ACTION_SPACE

    def __init__(
        self, schedule: Schedule = DEFAULT_SCHEDULE, render_mode: str | None = None
    ) -> None:
        self.render_mode = render_mode
        self._counter = _Counter(schedule)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode, or the first one of ``seed``."""
        super().reset(seed=seed)
        self._counter.reset(seed)
        return np.array(self._counter.observation(), np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Count one step."""
        reward, terminated, truncated = self._counter.advance()
        obs = np.array(self._counter.observation(), np.float32)
        return obs, reward, terminated, truncated, {}


class CountingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """The counting environment as a vector environment, in either autoreset mode.

    Args:
        num_envs: How many environments.
        schedule: As in :class:`CountingEnv`.
        autoreset_mode: ``NextStep`` or ``SameStep``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        schedule: Schedule = DEFAULT_SCHEDULE,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        self.num_envs = num_envs
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = _OBS_SPACE
        self.single_action_space = _ACTION_SPACE
        self.observation_space = batch_space(_OBS_SPACE, num_envs)
        self.action_space = batch_space(_ACTION_SPACE, num_envs)
        self._counters = [_Counter(schedule) for _ in range(num_envs)]
        self._ended = np.zeros(num_envs, bool)

    def _observations(self) -> np.ndarray:
        return np.array([counter.observation() for counter in self._counters], np.float32)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every environment afresh; ``seed`` is a list, or the first of consecutive seeds."""
        seeds = (
            [None] * self.num_envs
            if seed is None
            else [seed + i for i in range(self.num_envs)]
            if isinstance(seed, int)
            else list(seed)
        )
        for counter, own in zip(self._counters, seeds, strict=True):
            counter.reset(own)
        self._ended[:] = False
        return self._observations(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Count one step in each environment, or reset it where its episode had ended."""
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        for index, counter in enumerate(self._counters):
            if self._ended[index]:
                counter.reset(None)
            else:
                reward[index], terminated[index], truncated[index] = counter.advance()
        done = terminated | truncated
        infos: dict[str, Any] = {}
        if self.mode == AutoresetMode.NEXT_STEP:
            self._ended = done
        elif done.any():
            finals = np.full(self.num_envs, None, object)
            for index in np.flatnonzero(done):
                finals[index] = np.array(self._counters[index].observation(), np.float32)
                self._counters[index].reset(None)
            infos = {"final_obs": finals, "_final_obs": done}
        return self._observations(), reward, terminated, truncated, infos
