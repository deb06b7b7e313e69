"""The pendulum of Gymnasium's ``Pendulum-v1``, observed by its angle and rate.

    theta'' = (3 g / 2 l) sin theta + (3 / m l^2) torque,   semi-implicit Euler, dt = 0.05

with g = 10, m = l = 1, torque = 2 a, and the angle counted from the upright. Torque, start, cost
and the limit of the rate are those of ``Pendulum-v1``; the observation is (angle in [-pi, pi),
rate) in place of (cosine, sine, rate), so it jumps where the pendulum hangs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_number

TORQUE, RATE, INTERVAL = 2.0, 8.0, 0.05


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Return the angle in [-pi, pi)."""
    return ((angle + math.pi) % (2 * math.pi)) - math.pi


class Pendulum(Model):
    """Swing a pendulum up with a torque too weak to lift it, and hold it.

    Args:
        gravity: Acceleration of gravity, in m/s^2.
    """

    id = "dynamics/pendulum-v0"
    render_fps = 20

    def __init__(self, gravity: float = 10.0) -> None:
        self.gravity = check_number(self.id, "gravity", gravity, 0.0, 100.0)
        high = np.array([math.pi, RATE], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw the angle from [-pi, pi] and the rate from [-1, 1]."""
        high = np.array([math.pi, 1.0])
        drawn = np.array([rng.uniform(-high, high) for rng in rngs])
        return {"angle": drawn[:, 0].copy(), "rate": drawn[:, 1].copy()}

    def observe(self, state: State) -> np.ndarray:
        """Return (angle, rate), float32 ``[n, 2]``."""
        obs = np.empty((len(state["angle"]), 2), np.float32)
        obs[:, 0], obs[:, 1] = wrapped(state["angle"]), state["rate"]
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.05 s; the cost angle^2 + 0.1 rate^2 + 0.001 torque^2 is of the old state."""
        angle, rate = state["angle"], state["rate"]
        torque = TORQUE * actions[:, 0].astype(np.float64)
        error = wrapped(angle)
        reward = -(error * error + 0.1 * (rate * rate) + 0.001 * (torque * torque))
        rate = rate + (1.5 * self.gravity * np.sin(angle) + 3.0 * torque) * INTERVAL
        rate = np.clip(rate, -RATE, RATE)
        return Outcome(
            {"angle": angle + rate * INTERVAL, "rate": rate}, reward, np.zeros(len(angle), bool)
        )

    def render(self, state: State) -> np.ndarray:
        """Draw the rod; the arc shows which way and how fast it turns."""
        from envs.dynamics.pictures import pendulum_picture

        return pendulum_picture(float(state["angle"][0]), float(state["rate"][0]))


class PendulumEnv(ModelEnv):
    """See :class:`Pendulum`."""

    model_type = Pendulum


class PendulumVectorEnv(ModelVectorEnv):
    """See :class:`Pendulum`."""

    model_type = Pendulum
