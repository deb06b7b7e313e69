"""A rigid cylinder moved along a given path: the immersed boundary without the chain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.core.numba_cache import kernel
from envs.finray.coupling import REGULARISATION
from envs.finray.fluid import Fluid
from envs.finray.numba_chain import Flow, Work, cholesky, flow, solve, work
from envs.finray.numba_kernels import (
    bare_velocity,
    clear,
    delta_weights,
    fluid_step,
    overlap,
    spread,
)


@dataclass(frozen=True, eq=False)
class Cylinder:
    """Markers on a circle.

    Attributes:
        x: Of each marker, from the middle.
        y: The same.
        spacing: Of neighbouring markers along the circle.
    """

    x: np.ndarray
    y: np.ndarray
    spacing: float


def cylinder(radius: float) -> Cylinder:
    """Return a cylinder with markers about a cell apart."""
    count = round(2 * math.pi * radius)
    angle = 2 * math.pi * (np.arange(count) + 0.5) / count
    return Cylinder(radius * np.cos(angle), radius * np.sin(angle), 2 * math.pi * radius / count)


def force_on_fluid(
    fluid: Fluid, shape: Cylinder, path: np.ndarray, speed: np.ndarray, spin: np.ndarray
) -> np.ndarray:
    """Return the force of a cylinder on the fluid at each step, ``[steps, 2]``.

    Args:
        fluid: Domain and flow, at the inflow's speed at first.
        shape: The cylinder.
        path: Position of its middle, ``[steps, 2]``.
        speed: Velocity of its middle.
        spin: Its rate of turning, ``[steps]``.
    """
    f = fluid.uniform(1)[0]
    scratch = work(fluid.ny, fluid.nx, len(shape.x), 1, f.dtype)
    force = np.zeros((len(path), 2))
    constants = flow(fluid, f.dtype)
    _steps(
        f, np.empty_like(f), shape.x, shape.y, shape.spacing, np.ascontiguousarray(path),
        np.ascontiguousarray(speed), spin, constants, scratch, REGULARISATION, force,
    )  # fmt: skip
    return force


@kernel(nogil=True, error_model="numpy")
def _steps(
    f: Any, g: Any, mx: Any, my: Any, spacing: Any, path: Any, speed: Any, spin: Any, fl: Flow,
    w: Work, regularisation: float, force: Any,
) -> None:  # fmt: skip
    now, after = f, g
    m = len(mx)
    slip = np.zeros((m, 2))
    for s in range(len(path)):
        moved = s == 0 or path[s, 0] != path[s - 1, 0] or path[s, 1] != path[s - 1, 1]
        if moved:
            for k in range(m):
                w.x[k], w.y[k] = path[s, 0] + mx[k], path[s, 1] + my[k]
            delta_weights(w.x, w.y, w.ix, w.iy, w.wx, w.wy)
            overlap(w.ix, w.iy, w.wx, w.wy, spacing, regularisation, w.overlap)
            cholesky(w.overlap)
        bare_velocity(now, w.ix, w.iy, w.wx, w.wy, w.u, w.v)
        for k in range(m):
            slip[k, 0] = 2 * spacing * (speed[s, 0] - spin[s] * my[k] - w.u[k])
            slip[k, 1] = 2 * spacing * (speed[s, 1] + spin[s] * mx[k] - w.v[k])
        solve(w.overlap, slip)
        for k in range(m):
            w.force_x[k], w.force_y[k] = slip[k, 0], slip[k, 1]
            force[s, 0] += slip[k, 0]
            force[s, 1] += slip[k, 1]
        spread(w.force_x, w.force_y, w.ix, w.iy, w.wx, w.wy, w.fx, w.fy, w.forced)
        fluid_step(
            now, after, w.fx, w.fy, w.forced, w.zero, fl.inlet, fl.k, fl.walls, fl.open_ends,
            w.speed,
        )  # fmt: skip
        clear(w.fx, w.fy, w.forced)
        now, after = after, now
