"""Control of the Kuramoto-Sivashinsky equation, a chaotic flame front.

    u_t = -u_xxxx - u_xx - (u^2)_x / 2 + sum_i a_i G_i(x),   period 8 pi, |a_i| <= 0.5

with four Gaussians G_i of unit variance and peak 1/sqrt(2 pi) at 0, L/4, L/2 and 3L/4 and a control
interval of 0.25. The problem, its ``fd_rk4`` solver and its ``reference`` reward are those of the
public code of Liu and Wang (2021), "Physics-informed Dyna-style model-based deep reinforcement
learning for dynamic control" (Jianxun-Wang/PIMBRL), also the demonstration of APT (arXiv
2401.11349).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import (
    Model,
    ModelEnv,
    ModelVectorEnv,
    Outcome,
    State,
    check_choice,
    check_integer,
    check_number,
)
from envs.dynamics.divergence import hold_diverged
from envs.dynamics.ks_solvers import (
    DX,
    LENGTH,
    POINTS,
    DifferenceKs,
    KsSolver,
    SpectralKs,
)

ACTUATORS, LIMIT = 4, 0.5
BOUND = 40.0
"""The front stays below 5 on its attractor; its mean drifts by at most 0.02 a step (a_i = 0.5)."""
BURN_IN = 240
"""Control intervals from the draw of a start to the attractor: 60 time units."""


def actuators(wrapped: bool) -> np.ndarray:
    """Return the shapes G_i on the grid, ``[4, 64]``.

    Args:
        wrapped: Whether the Gaussian at 0 also has its left half, at the far end of the period.
    """
    x = np.arange(POINTS) * DX
    offset = x - LENGTH / ACTUATORS * np.arange(ACTUATORS)[:, None]
    if wrapped:
        offset = (offset + LENGTH / 2) % LENGTH - LENGTH / 2
    return np.exp(-(offset**2) / 2) / math.sqrt(2 * math.pi)


class KuramotoSivashinsky(Model):
    """Damp the front's chaos with four actuators.

    Args:
        solver: ``etdrk4`` (pseudo-spectral) or ``fd_rk4`` (the published differences).
        reward: ``physical``, minus the mean over the interval of <u_xx^2> + <u_x^2> + <u f>; or
            ``reference``, the published one: its difference sums are not divided by dx^2 and dx,
            and the Gaussian at 0 has no left half.
        substeps: Steps of ``etdrk4`` to a control interval.
        backend: ``numpy``, or ``numba`` for a compiled ``fd_rk4``.
        precision: ``float64`` or ``float32``. None takes the published single precision for
            ``fd_rk4`` with the ``reference`` reward, and double precision for the rest;
            ``etdrk4`` has no other.
        start_file: Path of a ``.npy`` array ``[m, 64]`` of start states, one of which is drawn;
            without it an episode starts from a random field, followed for 60 time units.
        divergence_penalty: Reward, and end, of a step in which the field leaves [-40, 40]; without
            it such a step raises :class:`envs.dynamics.divergence.EnvDiverged`.

    ``reset(options={"u": field})`` starts from a field ``[64]`` of the caller's (or ``[n, 64]``).
    """

    id = "dynamics/ks-v0"
    render_fps = 20

    def __init__(
        self,
        solver: str = "etdrk4",
        reward: str = "physical",
        substeps: int = 2,
        backend: str = "numpy",
        precision: str | None = None,
        start_file: str | None = None,
        divergence_penalty: float | None = None,
    ) -> None:
        check_choice(self.id, "solver", solver, ["etdrk4", "fd_rk4"])
        check_choice(self.id, "reward", reward, ["physical", "reference"])
        check_choice(self.id, "backend", backend, ["numpy", "numba"])
        check_integer(self.id, "substeps", substeps, 1, 1000)
        if solver == "etdrk4" and backend == "numba":
            raise ValueError(f"{self.id}: backend numba is for solver fd_rk4, got solver etdrk4")
        if precision is None:
            precision = "float32" if (solver, reward) == ("fd_rk4", "reference") else "float64"
        check_choice(self.id, "precision", precision, ["float64", "float32"])
        if solver == "etdrk4" and precision == "float32":
            raise ValueError(f"{self.id}: precision float32 is for solver fd_rk4, got etdrk4")
        if divergence_penalty is not None:
            check_number(self.id, "divergence_penalty", divergence_penalty)
        self._penalty = divergence_penalty
        self.actuator_shapes = actuators(wrapped=reward == "physical")
        self._burn_in = SpectralKs("physical", substeps=1)
        self.solver: KsSolver = (
            SpectralKs(reward, substeps)
            if solver == "etdrk4"
            else DifferenceKs(reward, backend, precision)
        )
        self._starts = None if start_file is None else _read_starts(self.id, start_file)
        self.observation_space = spaces.Box(-BOUND, BOUND, (POINTS,), np.float32)
        self.action_space = spaces.Box(-LIMIT, LIMIT, (ACTUATORS,), np.float32)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a start state from the attractor, or take the one given."""
        n = len(rngs)
        if "u" in options:
            u = _given(self.id, options["u"], n)
        elif self._starts is not None:
            u = self._starts[[int(rng.integers(len(self._starts))) for rng in rngs]]
        else:
            u = self._attractor(rngs)
        return {"u": u, "action": np.zeros((n, ACTUATORS))}

    def _attractor(self, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        drawn = np.array([rng.standard_normal((2, 4)) for rng in rngs])
        phase = 2 * math.pi * np.arange(1, 5)[:, None] * np.arange(POINTS) / POINTS
        u = np.zeros((len(rngs), POINTS))
        for m in range(4):
            u += drawn[:, 0, m, None] * np.cos(phase[m]) + drawn[:, 1, m, None] * np.sin(phase[m])
        return self._burn_in.settled(u, BURN_IN)

    def observe(self, state: State) -> np.ndarray:
        """Return the field, float32 ``[n, 64]``."""
        return state["u"].astype(np.float32)

    def force(self, actions: np.ndarray) -> np.ndarray:
        """Return f(x) = sum_i a_i G_i(x), ``[n, 64]``."""
        total: np.ndarray = actions[:, :1] * self.actuator_shapes[0]
        for k in range(1, ACTUATORS):
            total += actions[:, k : k + 1] * self.actuator_shapes[k]
        return total

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance by 0.25."""
        a = actions.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            moved, (curvature, slope, power) = self.solver.advance(state["u"], self.force(a))
            diverged, u = hold_diverged(self.id, state["u"], moved, BOUND, self._penalty)
            reward = -(curvature + slope + power)
        if self._penalty is not None:
            reward = np.where(diverged, self._penalty, reward)
        info = {
            "curvature": curvature,
            "slope": slope,
            "power": power,
            "energy": (u * u).mean(-1) / 2,
            "diverged": diverged.astype(np.int64),
        }
        return Outcome({"u": u, "action": a}, reward, diverged, info)

    def render(self, state: State) -> np.ndarray:
        """Draw the front, and the force of each actuator below it."""
        from envs.dynamics.pictures import front_picture

        force = self.force(state["action"][:1])[0]
        return front_picture(state["u"][0], force, LENGTH, "u(x), Kuramoto-Sivashinsky")


def _read_starts(env: str, path: Any) -> np.ndarray:
    if not isinstance(path, str) or not Path(path).is_file():
        raise ValueError(f"{env}: start_file {path!r} is not a file")
    try:
        starts = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{env}: start_file {path!r} is no array: {error}") from error
    if not isinstance(starts, np.ndarray):
        raise ValueError(f"{env}: start_file {path!r} holds several arrays, wanted one")
    if starts.ndim != 2 or starts.shape[1] != POINTS or not np.isfinite(starts).all():
        raise ValueError(
            f"{env}: start_file {path!r} holds an array {starts.shape}, wanted finite [m, {POINTS}]"
        )
    return starts.astype(np.float64)


def _given(env: str, field: Any, n: int) -> np.ndarray:
    u = np.asarray(field, np.float64)
    if u.shape not in ((POINTS,), (n, POINTS)) or not (np.abs(u) <= BOUND).all():
        raise ValueError(
            f"{env}: options['u'] must be a field ({POINTS},) or ({n}, {POINTS}) within "
            f"[-{BOUND:g}, {BOUND:g}], got shape {u.shape}"
        )
    return np.array(np.broadcast_to(u, (n, POINTS)))


class KuramotoSivashinskyEnv(ModelEnv):
    """See :class:`KuramotoSivashinsky`."""

    model_type = KuramotoSivashinsky


class KuramotoSivashinskyVectorEnv(ModelVectorEnv):
    """See :class:`KuramotoSivashinsky`."""

    model_type = KuramotoSivashinsky
