"""The Van der Pol oscillator, to be brought to rest against its limit cycle.

x'' = 2 (1 - x^2) x' - x + 5 a
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_choice
from envs.dynamics.rk4 import Components, advance

MU, FORCE = 2.0, 5.0
STEP, SUBSTEPS = 0.02, 5
START = 3.0


def vanderpol_field(state: Components, force: Any) -> Components:
    """Return the time derivatives of ``(x, v)``, v = x'."""
    x, v = state
    return v, MU * (1.0 - x * x) * v - x + force


class VanDerPol(Model):
    """A force drives the oscillator; the cost is quadratic in position, speed and force.

    Args:
        backend: ``numpy``, or ``numba`` for compiled loops (the same numbers).
    """

    id = "dynamics/vanderpol-v0"
    render_fps = 10

    def __init__(self, backend: str = "numpy") -> None:
        check_choice(self.id, "backend", backend, ["numpy", "numba"])
        self.backend = backend
        # |x| <= 5 is where the full force holds the spring; bang-bang control reaches |v| = 8.
        high = np.array([6.0, 20.0], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw position and speed from [-3, 3]."""
        drawn = np.array([rng.uniform(-START, START, 2) for rng in rngs])
        return {"x": drawn[:, 0].copy(), "v": drawn[:, 1].copy()}

    def observe(self, state: State) -> np.ndarray:
        """Return (x, x'), float32 ``[n, 2]``."""
        obs = np.empty((len(state["x"]), 2), np.float32)
        obs[:, 0], obs[:, 1] = state["x"], state["v"]
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.1; the reward is -(x^2 + 0.1 x'^2 + 0.001 (5 a)^2) at the end of it."""
        force = FORCE * actions[:, 0].astype(np.float64)
        x, v = state["x"], state["v"]
        if self.backend == "numba":
            from envs.dynamics import numba_kernels

            numba_kernels.vanderpol(x, v, force, STEP, SUBSTEPS)
        else:
            x, v = advance(vanderpol_field, (x, v), force, STEP, SUBSTEPS)
        reward = -(x * x + 0.1 * (v * v) + 0.001 * (force * force))
        return Outcome({"x": x, "v": v}, reward, np.zeros(len(x), bool))

    def render(self, state: State) -> np.ndarray:
        """Draw the state in the phase plane, over the limit cycle and the flow."""
        from envs.dynamics.pictures import vanderpol_picture

        return vanderpol_picture(float(state["x"][0]), float(state["v"][0]))


class VanDerPolEnv(ModelEnv):
    """See :class:`VanDerPol`."""

    model_type = VanDerPol


class VanDerPolVectorEnv(ModelVectorEnv):
    """See :class:`VanDerPol`."""

    model_type = VanDerPol
