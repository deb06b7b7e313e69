"""Lorenz's system, to be held at one of its unstable fixed points.

    dx/dt = sigma (y - x),   dy/dt = x (rho - z) - y + u,   dz/dt = x y - beta z

with sigma 10, rho 28, beta 8/3 (Lorenz 1963) and the force u = 30 a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_choice
from envs.dynamics.rk4 import Components, advance

SIGMA, RHO, BETA = 10.0, 28.0, 8.0 / 3.0
FORCE = 30.0
STEP, SUBSTEPS = 0.01, 5
BURN_IN_STEP, BURN_IN = 0.02, 1000
"""From the draw of a start to the attractor: 20 time units, in steps twice as long."""

ROOT = math.sqrt(BETA * (RHO - 1.0))
TARGET = (ROOT, ROOT, RHO - 1.0)
SCALE = (20.0, 30.0, 50.0)

# Under |u| <= 30 the ball x^2 + y^2 + (z - sigma - rho)^2 <= 64.7^2 is never left: the derivative
# of its left-hand side is negative wherever 10 x^2 + (y - u/2)^2 + beta (z - 19)^2 exceeds
# u^2/4 + 361 beta, and that ellipsoid lies inside the ball. Scaled observations stay below 4.
OBSERVED = 4.0


def lorenz_field(state: Components, force: Any) -> Components:
    """Return the time derivatives of ``(x, y, z)``."""
    x, y, z = state
    return SIGMA * (y - x), x * (RHO - z) - y + force, x * y - BETA * z


class Lorenz(Model):
    """Force on dy/dt; the cost is the distance from the fixed point C+ = (sqrt 72, sqrt 72, 27).

    Args:
        backend: ``numpy``, or ``numba`` for compiled loops (the same numbers).
    """

    id = "dynamics/lorenz-v0"
    render_fps = 20

    def __init__(self, backend: str = "numpy") -> None:
        check_choice(self.id, "backend", backend, ["numpy", "numba"])
        self.backend = backend
        self.observation_space = spaces.Box(-OBSERVED, OBSERVED, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw C- + N(0, 1) and follow it for 20 time units, onto the attractor."""
        centre = (-ROOT, -ROOT, RHO - 1.0)
        drawn = np.array([rng.standard_normal(3) for rng in rngs]) + centre
        state = {name: drawn[:, k].copy() for k, name in enumerate("xyz")}
        return self._moved(state, np.zeros(len(rngs)), BURN_IN_STEP, BURN_IN)

    def observe(self, state: State) -> np.ndarray:
        """Return (s - C+) / (20, 30, 50), float32 ``[n, 3]``."""
        obs = np.empty((len(state["x"]), 3), np.float32)
        for k, name in enumerate("xyz"):
            obs[:, k] = (state[name] - TARGET[k]) * (1.0 / SCALE[k])
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.05; the reward is -|s - C+|^2 / 100 - 0.01 a^2 at the end of it."""
        a = actions[:, 0].astype(np.float64)
        state = self._moved(state, FORCE * a, STEP, SUBSTEPS)
        x, y, z = (state[name] - goal for name, goal in zip("xyz", TARGET, strict=True))
        reward = (x * x + y * y + z * z) * -0.01 - 0.01 * (a * a)
        return Outcome(state, reward, np.zeros(len(a), bool))

    def _moved(self, state: State, force: np.ndarray, step: float, substeps: int) -> State:
        components = tuple(state[name] for name in "xyz")
        if self.backend == "numba":
            from envs.dynamics import numba_kernels

            numba_kernels.lorenz(*components, force, step, substeps)
            return state
        moved = advance(lorenz_field, components, force, step, substeps)
        return dict(zip("xyz", moved, strict=True))

    def render(self, state: State) -> np.ndarray:
        """Draw the state in the x-z plane, in front of the attractor it belongs to."""
        from envs.dynamics.pictures import lorenz_picture

        return lorenz_picture(*(float(state[name][0]) for name in "xyz"))


class LorenzEnv(ModelEnv):
    """See :class:`Lorenz`."""

    model_type = Lorenz


class LorenzVectorEnv(ModelVectorEnv):
    """See :class:`Lorenz`."""

    model_type = Lorenz
