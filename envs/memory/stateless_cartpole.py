"""Gymnasium's ``CartPole-v1`` seen by its positions only.

    theta'' = (g sin theta - cos theta p) / (l (4/3 - m cos^2 theta / (M + m)))
    x''     = p - m l theta'' cos theta / (M + m),   p = (F + m l theta'^2 sin theta) / (M + m)

with Euler steps of 0.02 s (Barto, Sutton and Anderson 1983); M = 1, m = 0.1, l = 0.5, F = +-10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State

GRAVITY, MASS, POLE, HALF, FORCE, TAU = 9.8, 1.1, 0.1, 0.5, 10.0, 0.02
TRACK, TILT = 2.4, 12 * 2 * math.pi / 360
NAMES = ("x", "v", "angle", "rate")


class StatelessCartPole(Model):
    """Balance a pole without being told any speed.

    Actions: 0 pushes left, 1 right. The observation is (x, angle); each step is worth 1, and
    |x| > 2.4 or |angle| > 12 degrees ends the episode. State, start and end are those of
    ``CartPole-v1``.
    """

    id = "memory/stateless-cartpole-v0"
    render_fps = 50

    def __init__(self) -> None:
        high = np.array([2 * TRACK, 2 * TILT], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(2)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw the four state variables from [-0.05, 0.05]."""
        drawn = np.array([rng.uniform(-0.05, 0.05, 4) for rng in rngs])
        return {name: drawn[:, k].copy() for k, name in enumerate(NAMES)}

    def observe(self, state: State) -> np.ndarray:
        """Return (x, angle), float32 ``[n, 2]``."""
        return np.stack([state["x"], state["angle"]], 1).astype(np.float32)

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Push for 0.02 s."""
        x, v, angle, rate = (state[name] for name in NAMES)
        force = np.where(actions == 1, FORCE, -FORCE)
        sine, cosine = np.sin(angle), np.cos(angle)
        push = (force + POLE * HALF * np.square(rate) * sine) / MASS
        turn = (GRAVITY * sine - cosine * push) / (
            HALF * (4.0 / 3.0 - POLE * np.square(cosine) / MASS)
        )
        pull = push - POLE * HALF * turn * cosine / MASS
        moved = (x + TAU * v, v + TAU * pull, angle + TAU * rate, rate + TAU * turn)
        state = dict(zip(NAMES, moved, strict=True))
        fallen = (np.abs(state["x"]) > TRACK) | (np.abs(state["angle"]) > TILT)
        return Outcome(state, np.ones(len(x)), fallen)

    def render(self, state: State) -> np.ndarray:
        """Draw the track, the cart and the pole."""
        from envs.memory.pictures import balance_picture

        return balance_picture(float(state["x"][0]), float(state["angle"][0]), TRACK)


class StatelessCartPoleEnv(ModelEnv):
    """See :class:`StatelessCartPole`."""

    model_type = StatelessCartPole


class StatelessCartPoleVectorEnv(ModelVectorEnv):
    """See :class:`StatelessCartPole`."""

    model_type = StatelessCartPole
