"""Burgers' equation, whose mean must follow a slow wave.

    u_t + (u^2)_x / 2 = nu u_xx + a_1 F_1(x) + a_2 F_2(x),   unit period, nu = 0.01

F_i = exp(-225 (x - x_i)^2) with x_i = 1/4 and 3/4, a_i in [-0.025, 0.075], control interval 0.5.
An action in [-1, 1] is spread over that range: a_i = 0.025 + 0.05 action_i. The target is
u_ref(t) = 0.5 + 0.05 sin(pi t / 15), the same everywhere. The problem is that of
Jianxun-Wang/PIMBRL, whose grid of period 2 with differences of 1/150 is one of period 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_choice
from envs.dynamics.spectral import EtdRk4, PeriodicGrid

POINTS, VISCOSITY, INTERVAL = 150, 0.01, 0.5
LOW, HIGH = -0.025, 0.075
FD_STEP, FD_SUBSTEPS = 1e-3, 500
SPECTRAL_SUBSTEPS = 40


def target(time: np.ndarray) -> np.ndarray:
    """Return u_ref at ``time``."""
    return 0.5 + 0.05 * np.sin(math.pi / 15 * time)


class Burgers(Model):
    """Push a viscous wave with two actuators so that it follows a moving level.

    Args:
        solver: ``etdrk4`` (pseudo-spectral) or ``fd_euler`` (the published differences: order 4 for
            u_xx, upwind of order 2, 500 Euler steps of 1e-3).
    """

    id = "dynamics/burgers-v0"
    render_fps = 10

    def __init__(self, solver: str = "etdrk4") -> None:
        check_choice(self.id, "solver", solver, ["etdrk4", "fd_euler"])
        self._spectral = solver == "etdrk4"
        self._grid = PeriodicGrid(POINTS, 1.0)
        linear = -VISCOSITY * self._grid.k**2
        self._scheme = EtdRk4(linear, INTERVAL / SPECTRAL_SUBSTEPS)
        x = self._grid.x
        self._shapes = [np.exp(-225 * (x - place) ** 2) for place in (0.25, 0.75)]
        self._starts = 0.2 * np.exp(-25 * (x - 0.5) ** 2), 0.2 * np.sin(4 * math.pi * x)
        # By the maximum principle u stays within [-0.025, 0.4 + 0.075] plus force times time:
        # below 3 in an episode of 30 time units.
        self.observation_space = spaces.Box(-4.0, 4.0, (POINTS,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a mixture of a bump and a wave, on a level of 0.2."""
        share = np.array([rng.random() for rng in rngs])[:, None]
        u = share * self._starts[0] + (1 - share) * self._starts[1] + 0.2
        return {"u": u, "time": np.zeros(len(rngs)), "push": np.zeros((len(rngs), 2))}

    def observe(self, state: State) -> np.ndarray:
        """Return u - u_ref, float32 ``[n, 150]``."""
        return np.asarray(state["u"] - target(state["time"])[:, None], np.float32)

    def force(self, push: np.ndarray) -> np.ndarray:
        """Return a_1 F_1 + a_2 F_2, ``[n, 150]``, for amplitudes a ``[n, 2]``."""
        return np.asarray(push[:, :1] * self._shapes[0] + push[:, 1:] * self._shapes[1])

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.5; the reward is -10 mean (u - u_ref)^2 at the end of it."""
        a = (LOW + HIGH) / 2 + (HIGH - LOW) / 2 * actions.astype(np.float64)
        move = self._spectral_moved if self._spectral else difference_moved
        u = move(state["u"], self.force(a))
        time = state["time"] + INTERVAL
        error = u - target(time)[:, None]
        reward = -10.0 * (error * error).mean(-1)
        state = {"u": u, "time": time, "push": a}
        return Outcome(state, reward, np.zeros(len(u), bool))

    def _spectral_moved(self, u: np.ndarray, force: np.ndarray) -> np.ndarray:
        v, f = self._grid.coefficients(u), self._grid.coefficients(force)
        for _ in range(SPECTRAL_SUBSTEPS):
            v, _ = self._scheme.step(v, self._grid.advection, (f, f, f))
        return self._grid.field(v)

    def render(self, state: State) -> np.ndarray:
        """Draw the wave, its target, and the force below it."""
        from envs.dynamics.pictures import front_picture

        force = self.force(state["push"][:1])[0]
        level = float(target(state["time"])[0])
        return front_picture(state["u"][0], force * 4, 1.0, "u(x), Burgers", level, (-0.2, 0.8))


def difference_moved(u: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return fields ``[n, 150]`` after 0.5 time units by the published differences.

    The upwind side is the left one, as published: u is meant to be positive.
    """
    dx = 1.0 / POINTS
    for _ in range(FD_SUBSTEPS):
        wide = np.concatenate([u[:, -2:], u, u[:, :2]], 1)
        flux = wide * wide / 2
        curvature = (
            -(wide[:, :-4] + wide[:, 4:]) / 12 + 4 / 3 * (wide[:, 1:-3] + wide[:, 3:-1]) - 2.5 * u
        )
        gradient = 0.5 * flux[:, :-4] - 2 * flux[:, 1:-3] + 1.5 * flux[:, 2:-2]
        u = u + FD_STEP * (VISCOSITY / dx**2 * curvature - gradient / dx + force)
    return u


class BurgersEnv(ModelEnv):
    """See :class:`Burgers`."""

    model_type = Burgers


class BurgersVectorEnv(ModelVectorEnv):
    """See :class:`Burgers`."""

    model_type = Burgers
