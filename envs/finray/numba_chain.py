"""CPU kernel of the coupled chain: many steps of fluid and ray for one environment.

The mathematics is that of :func:`envs.finray.coupling.move_chain`, with Cholesky factors in place
of inverses.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from envs.core.numba_cache import kernel
from envs.finray.chain import Chain, bending_hessian
from envs.finray.fluid import Fluid
from envs.finray.lattice import WALLS
from envs.finray.numba_kernels import (
    bare_velocity,
    clear,
    constants,
    delta_weights,
    fluid_step,
    overlap,
    spread,
)


class Body(NamedTuple):
    """The constants of a chain, as kernels take them."""

    base_x: float
    base_y: float
    spacing: float
    arms: np.ndarray
    inertia: np.ndarray
    joint: np.ndarray
    hessian: np.ndarray
    turn: np.ndarray
    weight: np.ndarray


class Flow(NamedTuple):
    """The constants of a fluid, as kernels take them."""

    inlet: np.ndarray
    k: np.ndarray
    walls: int
    open_ends: bool


class Work(NamedTuple):
    """Scratch arrays of one environment; what is in them between steps has no meaning."""

    fx: np.ndarray
    fy: np.ndarray
    forced: np.ndarray
    zero: np.ndarray
    speed: np.ndarray
    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    ix: np.ndarray
    iy: np.ndarray
    wx: np.ndarray
    wy: np.ndarray
    overlap: np.ndarray
    z: np.ndarray
    drag: np.ndarray
    pull_x: np.ndarray
    pull_y: np.ndarray
    left: np.ndarray
    right: np.ndarray
    rest: np.ndarray
    before: np.ndarray
    force_x: np.ndarray
    force_y: np.ndarray
    sin: np.ndarray
    cos: np.ndarray


def body(chain: Chain) -> Body:
    """Return the constants of ``chain``."""
    arrays = (chain.arms, chain.inertia, chain.joint, bending_hessian(chain.joint))
    arrays += (chain.turn, chain.weight)
    return Body(
        float(chain.base[0]),
        float(chain.base[1]),
        float(chain.spacing),
        *(np.ascontiguousarray(array, np.float64) for array in arrays),
    )


def flow(fluid: Fluid, dtype: Any) -> Flow:
    """Return the constants of ``fluid`` for populations of that type."""
    inlet = np.ascontiguousarray(fluid.inlet, dtype)
    return Flow(
        inlet, constants(fluid.omega, dtype), WALLS.index(fluid.walls), fluid.ends == "open"
    )


def work(ny: int, nx: int, markers: int, links: int, dtype: Any) -> Work:
    """Return fresh scratch arrays."""
    m, n = markers, links
    fields = (np.zeros((ny, nx), dtype), np.zeros((ny, nx), dtype), np.zeros(ny, np.bool_))
    rows = (np.zeros(nx, dtype), np.zeros(nx - 2, dtype))
    cells = (np.zeros(m, np.int64), np.zeros(m, np.int64), np.zeros((m, 3)), np.zeros((m, 3)))
    shapes = ((m, m), (m, n + 2), (n, n), n, n, (n, n), (n, 1), n, n, m, m, n, n)
    return Work(*fields, *rows, *np.zeros((4, m)), *cells, *(np.zeros(shape) for shape in shapes))


@kernel(nogil=True, error_model="numpy")
def cholesky(a):  # type: ignore[no-untyped-def]
    """Replace the lower triangle of a symmetric positive definite matrix by its factor."""
    for i in range(len(a)):
        for j in range(i):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / a[j, j]
        total = a[i, i]
        for k in range(i):
            total -= a[i, k] * a[i, k]
        a[i, i] = math.sqrt(total)


@kernel(nogil=True, error_model="numpy")
def solve(factor, b):  # type: ignore[no-untyped-def]
    """Replace the columns of ``b`` by the solutions, given the Cholesky factor."""
    n, columns = b.shape
    for i in range(n):
        for j in range(i):
            for c in range(columns):
                b[i, c] -= factor[i, j] * b[j, c]
        for c in range(columns):
            b[i, c] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            for c in range(columns):
                b[i, c] -= factor[j, i] * b[j, c]
        for c in range(columns):
            b[i, c] /= factor[i, i]


@njit(nogil=True, error_model="numpy", inline="always")
def _bend(theta, rest, i):  # type: ignore[no-untyped-def]
    """Return how far joint ``i`` is bent from its rest angle."""
    return theta[i] - rest[i] - (theta[i - 1] if i else 0.0)


@kernel(nogil=True, error_model="numpy")
def _set_rest(b, w, a0, a1, fraction):  # type: ignore[no-untyped-def]
    """Write the rest angles at this fraction of the control interval, and keep the last ones."""
    for i in range(len(w.rest)):
        w.before[i] = w.rest[i]
        w.rest[i] = 0.0
        for a in range(len(a0)):
            w.rest[i] += (a0[a] + (a1[a] - a0[a]) * fraction) * b.turn[a, i]


@kernel(nogil=True, error_model="numpy")
def _sense(f, b, w, theta, regularisation):  # type: ignore[no-untyped-def]
    """Write the fluid's resistance, applied to arms and velocities: ``z = B [arms, u, v]``."""
    m, n = b.arms.shape
    for marker in range(m):
        w.x[marker], w.y[marker] = b.base_x, b.base_y
    for i in range(n):
        w.sin[i], w.cos[i] = math.sin(theta[i]), math.cos(theta[i])
        for marker in range(m):
            w.x[marker] += b.arms[marker, i] * w.cos[i]
            w.y[marker] += b.arms[marker, i] * w.sin[i]
    delta_weights(w.x, w.y, w.ix, w.iy, w.wx, w.wy)
    bare_velocity(f, w.ix, w.iy, w.wx, w.wy, w.u, w.v)
    overlap(w.ix, w.iy, w.wx, w.wy, b.spacing, regularisation, w.overlap)
    cholesky(w.overlap)
    for marker in range(m):
        for i in range(n):
            w.z[marker, i] = 2 * b.spacing * b.arms[marker, i]
        w.z[marker, n] = 2 * b.spacing * w.u[marker]
        w.z[marker, n + 1] = 2 * b.spacing * w.v[marker]
    solve(w.overlap, w.z)


@kernel(nogil=True, error_model="numpy")
def _project(b, w):  # type: ignore[no-untyped-def]
    """Write ``arms^T B arms`` and the pull of the fluid on each link."""
    m, n = b.arms.shape
    for i in range(n):
        w.pull_x[i], w.pull_y[i] = 0.0, 0.0
        for j in range(n):
            w.drag[i, j] = 0.0
    for marker in range(m):
        for i in range(n):
            arm = b.arms[marker, i]
            w.pull_x[i] += arm * w.z[marker, n]
            w.pull_y[i] += arm * w.z[marker, n + 1]
            for j in range(n):
                w.drag[i, j] += arm * w.z[marker, j]


@kernel(nogil=True, error_model="numpy")
def _solve_rates(b, w, theta, omega):  # type: ignore[no-untyped-def]
    """Write the rates after the step into ``w.right``."""
    n = len(theta)
    for i in range(n):
        si, ci = w.sin[i], w.cos[i]
        total = -b.joint[i] * _bend(theta, w.rest, i) - b.weight[i] * si
        if i + 1 < n:
            total += b.joint[i + 1] * _bend(theta, w.rest, i + 1)
        total += ci * w.pull_y[i] - si * w.pull_x[i]
        for j in range(n):
            across = ci * w.cos[j] + si * w.sin[j]
            along = si * w.cos[j] - ci * w.sin[j]
            w.left[i, j] = (b.inertia[i, j] + w.drag[i, j]) * across + b.hessian[i, j]
            total += b.inertia[i, j] * (across * omega[j] - along * omega[j] * omega[j])
        w.right[i, 0] = total
    cholesky(w.left)
    solve(w.left, w.right)


@kernel(nogil=True, error_model="numpy")
def _push(b, w, sums):  # type: ignore[no-untyped-def]
    """Write the markers' forces on the fluid for the rates just found."""
    m, n = b.arms.shape
    for marker in range(m):
        fx, fy, slip_x, slip_y = -w.z[marker, n], -w.z[marker, n + 1], 0.0, 0.0
        for i in range(n):
            along, across = -w.sin[i] * w.right[i, 0], w.cos[i] * w.right[i, 0]
            fx += w.z[marker, i] * along
            fy += w.z[marker, i] * across
            slip_x += b.arms[marker, i] * along
            slip_y += b.arms[marker, i] * across
        w.force_x[marker], w.force_y[marker] = fx, fy
        sums[0] += fx
        sums[1] += fy
        sums[4] += fx * slip_x + fy * slip_y


@kernel(nogil=True, error_model="numpy")
def _turn(b, w, theta, omega, sums):  # type: ignore[no-untyped-def]
    """Turn the links by the rates just found; return the height of the tip over the links'."""
    power, height, last = 0.0, 0.0, 0.0
    for i in range(len(theta)):
        # The link before this one has turned already: ``last`` takes that back.
        old = _bend(theta, w.before, i) + last
        omega[i] = w.right[i, 0]
        theta[i] += omega[i]
        last = omega[i]
        height += math.sin(theta[i])
        bent = 0.5 * (old + _bend(theta, w.rest, i))
        power -= b.joint[i] * bent * (w.rest[i] - w.before[i])
    sums[2] += power
    sums[3] += max(power, 0.0)
    sums[5] += b.joint[0] * _bend(theta, w.rest, 0)
    return height


@kernel(nogil=True, error_model="numpy")
def advance(f, g, theta, omega, a0, a1, steps, b, fl, w, regularisation, limit, sums):  # type: ignore[no-untyped-def]
    """Advance one environment; return the steps done, largest speed, tip excursion, divergence.

    After an odd number of steps the populations are in ``g``, else in ``f``. ``theta``, ``omega``
    and ``sums`` (of :data:`envs.finray.engine.SUMS`) are updated in place.
    """
    now, after = f, g
    link = b.spacing * (b.arms.shape[0] // b.arms.shape[1])
    top, tip, done = 0.0, 0.0, 0
    _set_rest(b, w, a0, a1, 0.0)
    while done < steps:
        _set_rest(b, w, a0, a1, (done + 1) / steps)
        _sense(now, b, w, theta, regularisation)
        _project(b, w)
        _solve_rates(b, w, theta, omega)
        _push(b, w, sums)
        height = abs(_turn(b, w, theta, omega, sums)) * link
        spread(w.force_x, w.force_y, w.ix, w.iy, w.wx, w.wy, w.fx, w.fy, w.forced)
        square = fluid_step(
            now,
            after,
            w.fx,
            w.fy,
            w.forced,
            w.zero,
            fl.inlet,
            fl.k,
            fl.walls,
            fl.open_ends,
            w.speed,
        )
        clear(w.fx, w.fy, w.forced)
        now, after = after, now
        done += 1
        tip, top = max(tip, height), max(top, math.sqrt(square))
        if not (square <= limit * limit and math.isfinite(height)):
            return done, top, tip, True
    return done, top, tip, False


@kernel(nogil=True, error_model="numpy")
def vacuum_steps(theta, omega, steps, b, w, trace, every):  # type: ignore[no-untyped-def]
    """Move a chain without fluid; write its angles every ``every`` steps into ``trace``.

    The scratch arrays must be fresh: no drag, no pull, no rest angle.
    """
    for s in range(steps):
        for i in range(len(theta)):
            w.sin[i], w.cos[i] = math.sin(theta[i]), math.cos(theta[i])
        _solve_rates(b, w, theta, omega)
        for i in range(len(theta)):
            omega[i] = w.right[i, 0]
            theta[i] += omega[i]
        if (s + 1) % every == 0:
            for i in range(len(theta)):
                trace[(s + 1) // every - 1, i] = theta[i]
