"""CPU kernels of the fluid: one pass a step that streams and collides, and the delta functions.

Arrays are those of one environment: populations ``f`` ``[9, ny, nx]`` before the step and ``g``
after it. The formulas are explained in :mod:`envs.finray.lattice`; here they are written for the
vector units: a row at a time, nine input and nine output rows.
"""

from __future__ import annotations

import math
from typing import Any

import llvmlite.binding
import numpy as np
from numba import njit

from envs.core.numba_cache import kernel
from envs.finray.lattice import CX, CY, MIRROR, OPPOSITE

# LLVM vectorises a loop over n arrays only if it may check at run time that they do not overlap;
# the loop below needs about 150 of these checks, more than it does by default. The option was
# renamed in LLVM 22; a name that LLVM does not know is passed over.
for _option in ("runtime-memory-check-threshold", "vectorize-memory-check-threshold"):
    llvmlite.binding.set_option("", f"-{_option}=256")

PERIODIC, FREE_SLIP, NO_SLIP = 0, 1, 2


def constants(omega: float, dtype: Any) -> np.ndarray:
    """Return the numbers that the collision needs, in the type of the populations."""
    return np.array([1, 1 / 3, 1 / 9, 1 - omega, 0.5, 0.25], dtype)


@kernel(nogil=True, error_model="numpy")
def collide_row(  # type: ignore[no-untyped-def]
    s0, s1, s2, s3, s4, s5, s6, s7, s8, fx, fy, o0, o1, o2, o3, o4, o5, o6, o7, o8, speed, k
):
    """Collide one row of streamed populations; write also the squares of the speed.

    Sums are made as they stand here, without fused multiply-add: LLVM compiles the loop once for
    each kernel that it is inlined into, and the copies would differ in the last bit.
    """
    one, third, ninth, keep, half, quarter = k[0], k[1], k[2], k[3], k[4], k[5]
    for i in range(len(o0)):
        f1, f2, f3, f4 = s1[i], s2[i], s3[i], s4[i]
        f5, f6, f7, f8 = s5[i], s6[i], s7[i], s8[i]
        east, west, north, south = f5 + f8, f6 + f7, f5 + f6, f7 + f8
        rho = s0[i] + (f1 + f3) + (f2 + f4) + (east + west)
        inverse = one / rho
        gx, gy = half * fx[i], half * fy[i]
        ru, rv = (f1 - f3) + (east - west) + gx, (f2 - f4) + (north - south) + gy
        u, v = ru * inverse, rv * inverse
        uu, vv, uv, rho3 = u * u, v * v, u * v, third * rho
        ugx, vgy, shear_force = u * gx, v * gy, u * gy + v * gx
        ruu, rvv, ruv = ru * u, rv * v, ru * v
        ugx2, vgy2 = ugx + ugx, vgy + vgy
        difference = half * keep * (f1 + f3 - f2 - f4 - (ruu - rvv) + (ugx2 - vgy2))
        kxy = keep * (f5 - f6 + f7 - f8 - ruv + shear_force)
        kxx, kyy = rho3 + difference, rho3 - difference
        pxx, pyy, pxy = kxx + ugx2 + ruu, kyy + vgy2 + rvv, kxy + shear_force + ruv
        u2, v2 = u + u, v + v
        kxxy, kxyy = third * gy, third * gx
        qxxy = kxxy + u2 * kxy + v * kxx + uu * gy + v * ugx2 + ruu * v
        qxyy = kxyy + v2 * kxy + u * kyy + vv * gx + u * vgy2 + rvv * u
        rest = ninth * rho + u2 * kxyy + v2 * kxxy + uu * kyy + vv * kxx + u2 * v2 * kxy
        rest += uv * (v2 * gx + u2 * gy + ruv)
        jx, jy = ru + gx, rv + gy
        o0[i] = rho - pxx - pyy + rest
        even, odd = half * (pxx - rest), half * (jx - qxyy)
        o1[i], o3[i] = even + odd, even - odd
        even, odd = half * (pyy - rest), half * (jy - qxxy)
        o2[i], o4[i] = even + odd, even - odd
        even, odd = quarter * (rest + pxy), quarter * (qxxy + qxyy)
        o5[i], o7[i] = even + odd, even - odd
        even, odd = quarter * (rest - pxy), quarter * (qxxy - qxyy)
        o6[i], o8[i] = even + odd, even - odd
        speed[i] = uu + vv


@kernel(nogil=True, fastmath=True, error_model="numpy")
def largest(values):  # type: ignore[no-untyped-def]
    """Return the largest of some numbers >= 0."""
    found = values[0]
    for i in range(1, len(values)):
        found = max(found, values[i])
    return found


@njit(nogil=True, inline="always")
def _pulled(f, q, y, walls):  # type: ignore[no-untyped-def]
    """Return the row that streams into row ``y`` of population ``q``, without the end columns."""
    ny, nx = f.shape[1], f.shape[2]
    cx, source = CX[q], y - CY[q]
    if source < 0 or source >= ny:
        if walls == PERIODIC:
            source = ny - 1 if source < 0 else 0
        elif walls == FREE_SLIP:
            q, source = MIRROR[q], y
        else:
            q, source, cx = OPPOSITE[q], y, 0
    return f[q, source, 1 - cx : nx - 1 - cx]


@kernel(nogil=True, error_model="numpy")
def fluid_step(f, g, fx, fy, forced, zero, inlet, k, walls, open_ends, speed):  # type: ignore[no-untyped-def]
    """Write into ``g`` the populations one step after ``f``.

    Args:
        f: Populations ``[9, ny, nx]``.
        g: Where the next ones go.
        fx: Body force along x ``[ny, nx]``, read only in rows that are ``forced``.
        fy: The same along y.
        forced: ``[ny]`` bool.
        zero: ``[nx]`` of zeros.
        inlet: ``[ny]`` speed of the inflow.
        k: :func:`constants`.
        walls: Kind of the lower and upper side.
        open_ends: Inflow and outflow, or periodic copies.
        speed: Scratch ``[nx - 2]``.

    Returns:
        The largest square of the speed.
    """
    ny, nx = f.shape[1], f.shape[2]
    top = k[0] - k[0]
    for y in range(ny):
        force_x, force_y = zero[1 : nx - 1], zero[1 : nx - 1]
        if forced[y]:
            force_x, force_y = fx[y, 1 : nx - 1], fy[y, 1 : nx - 1]
        collide_row(
            f[0, y, 1 : nx - 1],
            _pulled(f, 1, y, walls),
            _pulled(f, 2, y, walls),
            _pulled(f, 3, y, walls),
            _pulled(f, 4, y, walls),
            _pulled(f, 5, y, walls),
            _pulled(f, 6, y, walls),
            _pulled(f, 7, y, walls),
            _pulled(f, 8, y, walls),
            force_x,
            force_y,
            g[0, y, 1 : nx - 1],
            g[1, y, 1 : nx - 1],
            g[2, y, 1 : nx - 1],
            g[3, y, 1 : nx - 1],
            g[4, y, 1 : nx - 1],
            g[5, y, 1 : nx - 1],
            g[6, y, 1 : nx - 1],
            g[7, y, 1 : nx - 1],
            g[8, y, 1 : nx - 1],
            speed,
            k,
        )
        top = max(top, largest(speed))
        _close_row(g, y, inlet[y], k, open_ends)
    return top


@kernel(nogil=True, error_model="numpy")
def _close_row(g, y, inflow, k, open_ends):  # type: ignore[no-untyped-def]
    """Write the first and last column of a row."""
    last = g.shape[2] - 1
    if not open_ends:
        for q in range(9):
            g[q, y, 0] = g[q, y, last - 1]
            g[q, y, last] = g[q, y, 1]
        return
    one, third, half = k[0], k[1], k[4]
    rho = one - one
    for q in range(9):
        rho += g[q, y, 1]
        g[q, y, last] = g[q, y, last - 1]
    even = third + inflow * inflow
    for q in range(9):
        cx, cy = CX[q], CY[q]
        along = one - even
        if cx == 1:
            along = half * (even + inflow)
        elif cx == -1:
            along = half * (even - inflow)
        across = half * third if cy != 0 else third + third
        g[q, y, 0] = rho * along * across


@kernel(nogil=True, error_model="numpy")
def delta_weights(x, y, ix, iy, wx, wy):  # type: ignore[no-untyped-def]
    """Write the middle cells and three weights along each axis of the three-point delta."""
    for k in range(len(x)):
        ix[k], iy[k] = math.floor(x[k] + 0.5), math.floor(y[k] + 0.5)
        _three(x[k] - ix[k], wx[k])
        _three(y[k] - iy[k], wy[k])


@njit(nogil=True, error_model="numpy", inline="always")
def _three(d, w):  # type: ignore[no-untyped-def]
    root = math.sqrt(1 - 3 * d * d)
    w[0] = (2 - 3 * d - root) / 6
    w[1] = (1 + root) / 3
    w[2] = (2 + 3 * d - root) / 6


@kernel(nogil=True, error_model="numpy")
def bare_velocity(f, ix, iy, wx, wy, u, v):  # type: ignore[no-untyped-def]
    """Write the velocity at the markers after streaming, without body force."""
    ny = f.shape[1]
    for k in range(len(ix)):
        u[k], v[k] = 0.0, 0.0
        for j in range(3):
            for i in range(3):
                rho, jx, jy = 0.0, 0.0, 0.0
                for q in range(9):
                    y = (iy[k] + j - 1 - CY[q]) % ny
                    value = float(f[q, y, ix[k] + i - 1 - CX[q]])
                    rho += value
                    jx += CX[q] * value
                    jy += CY[q] * value
                weight = wx[k, i] * wy[k, j] / rho
                u[k] += weight * jx
                v[k] += weight * jy


@kernel(nogil=True, error_model="numpy")
def spread(force_x, force_y, ix, iy, wx, wy, fx, fy, forced):  # type: ignore[no-untyped-def]
    """Add the markers' forces to the body force of the fluid."""
    ny = fx.shape[0]
    for k in range(len(ix)):
        for j in range(3):
            y = (iy[k] + j - 1) % ny
            forced[y] = True
            for i in range(3):
                weight = wx[k, i] * wy[k, j]
                fx[y, ix[k] + i - 1] += weight * force_x[k]
                fy[y, ix[k] + i - 1] += weight * force_y[k]


@kernel(nogil=True, error_model="numpy")
def clear(fx, fy, forced):  # type: ignore[no-untyped-def]
    """Set the forced rows back to zero force."""
    for y in range(len(forced)):
        if forced[y]:
            for x in range(fx.shape[1]):
                fx[y, x] = 0
                fy[y, x] = 0
            forced[y] = False


@kernel(nogil=True, error_model="numpy")
def overlap(ix, iy, wx, wy, spacing, regularisation, out):  # type: ignore[no-untyped-def]
    """Write ``spacing * sum_x delta_k delta_l`` plus a diagonal, ``[markers, markers]``."""
    for k in range(len(ix)):
        for m in range(k + 1):
            dx, dy = ix[k] - ix[m], iy[k] - iy[m]
            value = 0.0
            if abs(dx) <= 2 and abs(dy) <= 2:
                value = spacing * _shared(wx[k], wx[m], dx) * _shared(wy[k], wy[m], dy)
            out[k, m] = value
            out[m, k] = value
        out[k, k] += regularisation


@njit(nogil=True, error_model="numpy", inline="always")
def _shared(a, b, shift):  # type: ignore[no-untyped-def]
    """Return the sum over cells of two weights whose middles lie ``shift`` apart."""
    total = 0.0
    for i in range(3):
        if 0 <= i + shift < 3:
            total += a[i] * b[i + shift]
    return total
