"""Actions that take effect late."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.core.arguments import check_integer


class Lag(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Carries each action out ``steps`` steps after it was chosen, as a remote actor would see it.

    The first ``steps`` actions of an episode are ``first``. (The counterpart for observations is
    Gymnasium's ``DelayObservation``.)

    Args:
        env: The environment.
        steps: How many steps late.
        first: What is done until the first chosen action arrives; by default zeros, or the nearest
            to it that the space has.

    Raises:
        ValueError: ``steps`` is negative, ``first`` is no action, or the space has no zeros.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], steps: int, first: Any = None) -> None:
        RecordConstructorArgs.__init__(self, steps=steps, first=first)
        gymnasium.Wrapper.__init__(self, env)
        self.steps = check_integer("wrapper lag", "steps", steps, 0, 1_000_000)
        self.first = _neutral(env.action_space) if first is None else _action(env, first)
        self._waiting: deque[Any] = deque()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with nothing chosen yet."""
        self._waiting = deque(copy.copy(self.first) for _ in range(self.steps))
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Carry out the action chosen ``steps`` steps ago and remember this one."""
        self._waiting.append(copy.copy(action))
        return self.env.step(self._waiting.popleft())

    def get_state(self) -> dict[str, Any]:
        """Return what changes: the actions on their way."""
        return {"waiting": copy.deepcopy([*self._waiting])}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""
        self._waiting = deque(copy.deepcopy(state["waiting"]))


def lag(env: gymnasium.Env[Any, Any], steps: int, first: Any = None) -> Lag:
    """Return ``env`` with actions that take effect ``steps`` steps late; see :class:`Lag`."""
    return Lag(env, steps, first)


def _neutral(space: gymnasium.Space[Any]) -> Any:
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return min(max(0, int(space.start)), int(space.start) + int(space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        start, sizes = np.asarray(space.start, np.int64), np.asarray(space.nvec, np.int64)
        return np.clip(np.zeros_like(start), start, start + sizes - 1)
    raise ValueError(f"wrapper lag: {space} has no zero; say what comes first with first: ...")


def _action(env: gymnasium.Env[Any, Any], first: Any) -> Any:
    space = env.action_space
    action = np.asarray(first, space.dtype) if isinstance(space, spaces.Box) else first
    if not space.contains(action):
        raise ValueError(f"wrapper lag: first must be one of {space}, got {first!r}")
    return action
