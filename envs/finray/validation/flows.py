"""Flows without a body that have closed forms: channel, decaying vortices, a closed box."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from envs.finray.fluid import Fluid
from envs.finray.lattice import equilibrium, velocity
from envs.finray.numba_chain import flow
from envs.finray.numba_kernels import fluid_step
from envs.finray.validation.report import Check, Result


def run(fluid: Fluid, f: np.ndarray, steps: int, force: float = 0.0) -> np.ndarray:
    """Return populations ``[9, ny, nx]`` after ``steps`` steps under a uniform force along x."""
    shape, constants = f.shape[1:], flow(fluid, f.dtype)
    fx, fy = np.full(shape, force, f.dtype), np.zeros(shape, f.dtype)
    forced = np.full(shape[0], force != 0.0)
    zero, speed = np.zeros(shape[1], f.dtype), np.zeros(shape[1] - 2, f.dtype)
    now, after = f.copy(), np.empty_like(f)
    for _ in range(steps):
        fluid_step(
            now, after, fx, fy, forced, zero, constants.inlet, constants.k, constants.walls,
            constants.open_ends, speed,
        )  # fmt: skip
        now, after = after, now
    return now


def channel_error(rows: int, viscosity: float = 0.1, top: float = 0.02) -> float:
    """Return the relative L2 error of a channel flow driven by a uniform force, in steady state.

    The walls lie half a cell outside; the exact profile is a parabola with the velocity ``top``
    in the middle. The viscosity and Mach number stay as the rows grow, so the error is the
    scheme's in space.
    """
    force = 8 * viscosity * top / rows**2
    fluid = Fluid(6, rows, viscosity, np.zeros(rows), "no_slip", "periodic")
    settling = rows**2 / (math.pi**2 * viscosity)
    f = run(fluid, fluid.uniform(1)[0], round(16 * settling), force)
    u = velocity(f[None])[0][0, :, 2] - force / 2  # populations after collision carry all of it
    y = (np.arange(rows) + 0.5) / rows
    exact = 4 * top * y * (1 - y)
    return float(np.linalg.norm(u - exact) / np.linalg.norm(exact))


def vortices(cells: int, viscosity: float, speed: float) -> tuple[Fluid, np.ndarray]:
    """Return a Taylor-Green field in a doubly periodic box, with its pressure."""
    fluid = Fluid(cells + 2, cells, viscosity, np.zeros(cells), "periodic", "periodic")
    k = 2 * math.pi / cells
    y, x = np.meshgrid(np.arange(cells), np.arange(cells + 2) - 1, indexing="ij")
    u, v = vortex_velocity(k, x, y, speed)
    rho = 1 - 0.75 * speed**2 * (np.cos(2 * k * x) + np.cos(2 * k * y))
    f = np.stack(equilibrium(rho, u, v))
    # The shear that the collision relaxes: -2 rho nu S spread over the second moments.
    strain = -2 * rho / 3 / fluid.omega * speed * k * np.sin(k * x) * np.sin(k * y) * -1.0
    f[1] += strain / 2
    f[3] += strain / 2
    f[2] -= strain / 2
    f[4] -= strain / 2
    return fluid, f


def vortex_velocity(k: float, x: Any, y: Any, speed: float) -> tuple[Any, Any]:
    """Return the velocity of the Taylor-Green field."""
    return -speed * np.cos(k * x) * np.sin(k * y), speed * np.sin(k * x) * np.cos(k * y)


def vortex_error(cells: int, viscosity: float = 0.01, mach: float = 0.64) -> tuple[float, float]:
    """Return the relative L2 error after one decay time and the ratio of decay rates.

    Diffusive scaling: the speed falls as the cells shrink, so that the error of compressibility
    falls with the square of the cell size like that of the scheme.
    """
    speed = mach / cells
    k = 2 * math.pi / cells
    steps = round(math.log(2) / (2 * viscosity * k * k))
    fluid, f = vortices(cells, viscosity, speed)
    start = velocity(f[None])
    f = run(fluid, f, steps)
    u, v = (field[0, :, 1:-1] for field in velocity(f[None]))
    y, x = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    decay = math.exp(-2 * viscosity * k * k * steps)
    exact_u, exact_v = (decay * field for field in vortex_velocity(k, x, y, speed))
    error = math.hypot(np.linalg.norm(u - exact_u), np.linalg.norm(v - exact_v))
    size = math.hypot(np.linalg.norm(exact_u), np.linalg.norm(exact_v))
    energy = sum((field[0, :, 1:-1] ** 2).sum() for field in start)
    rate = math.log(energy / ((u**2).sum() + (v**2).sum())) / (4 * viscosity * k * k * steps)
    return error / size, rate


def poiseuille() -> Result:
    """Channel flow: second order in the cell size."""
    rows = [8, 16, 32]
    errors = [channel_error(n) for n in rows]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    return Result(
        "poiseuille",
        {"rows": rows, "viscosity": 0.1, "walls": "half-way bounce-back"},
        [
            Check("order of the error", min(orders), 1.8, 2.5, "scheme of second order"),
            Check("relative error at 32 rows", errors[-1], 0.0, 0.01, "exact parabola"),
        ],
        {"errors": errors},
        lambda figure: _orders(figure, rows, errors, "rows across the channel"),
    )


def taylor_green() -> Result:
    """Decaying vortices: second order, and the decay rate of the viscosity asked for."""
    cells = [16, 32, 64]
    pairs = [vortex_error(n) for n in cells]
    errors = [error for error, _ in pairs]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    return Result(
        "taylor_green",
        {"cells": cells, "viscosity": 0.01, "speed": "0.64 / cells"},
        [
            Check("order of the error", min(orders), 1.8, 2.6, "scheme of second order"),
            Check("decay rate over 2 nu k^2", pairs[-1][1], 0.99, 1.01, "exact solution"),
        ],
        {"errors": errors, "rates": [rate for _, rate in pairs]},
        lambda figure: _orders(figure, cells, errors, "cells to a period"),
    )


def _orders(figure: Any, cells: list[int], errors: list[float], label: str) -> None:
    axes = figure.subplots()
    axes.loglog(cells, errors, "o-", label="computed")
    axes.loglog(cells, [errors[0] * (cells[0] / n) ** 2 for n in cells], "--", label="second order")
    axes.set(xlabel=label, ylabel="relative L2 error of the velocity")
    axes.legend()
