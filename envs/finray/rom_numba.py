"""CPU kernel of the reduced-order ray; the formulas are those of :mod:`envs.finray.rom_kernels`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from envs.core.numba_cache import kernel
from envs.finray.numba_chain import cholesky, solve


@kernel(nogil=True, error_model="numpy")
def many_steps(load, theta, omega, a0, a1, steps, sums):  # type: ignore[no-untyped-def]
    """Advance rays ``[n, links]`` in place; ``sums`` ``[n, 7]`` takes means and tip excursion."""
    n = theta.shape[1]
    rows = np.zeros((10, n))
    squares = np.zeros((4, n, n))
    right = np.zeros((n, 1))
    for k in range(len(theta)):
        for s in range(steps):
            _rest(load, a0[k], a1[k], s / steps, rows[8])
            _rest(load, a0[k], a1[k], (s + 1) / steps, rows[9])
            _levers(load, theta[k], omega[k], rows, squares)
            _forces(load, omega[k], rows, squares)
            _system(load, theta[k], omega[k], rows, squares, right)
            cholesky(squares[3])
            solve(squares[3], right)
            _measure(load, theta[k], omega[k], rows, squares, right, sums[k])
        for j in range(6):
            sums[k, j] /= steps


@njit(nogil=True, error_model="numpy", inline="always")
def _rest(load, a0, a1, fraction, out):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        out[i] = 0.0
        for a in range(len(a0)):
            out[i] += (a0[a] + (a1[a] - a0[a]) * fraction) * load.turn[a, i]


@kernel(nogil=True, error_model="numpy")
def _levers(load, theta, omega, rows, squares):  # type: ignore[no-untyped-def]
    """Write sines, velocities relative to the stream, ``lever``, ``slide`` and the inertia."""
    n = len(theta)
    sin, cos, w, u, change = rows[0], rows[1], rows[2], rows[3], rows[4]
    for i in range(n):
        sin[i], cos[i] = math.sin(theta[i]), math.cos(theta[i])
    for i in range(n):
        w[i], u[i], change[i] = sin[i], -cos[i], cos[i] * omega[i]
        for j in range(n):
            across = cos[i] * cos[j] + sin[i] * sin[j]
            along = sin[i] * cos[j] - cos[i] * sin[j]
            squares[0, i, j] = load.middle[i, j] * across
            squares[1, i, j] = load.middle[i, j] * along
            squares[2, i, j] = load.inertia[i, j] * across
            squares[3, i, j] = load.inertia[i, j] * along
            w[i] += squares[0, i, j] * omega[j]
            u[i] += squares[1, i, j] * omega[j]
            change[i] -= squares[1, i, j] * (omega[i] - omega[j]) * omega[j]


@kernel(nogil=True, error_model="numpy")
def _forces(load, omega, rows, squares):  # type: ignore[no-untyped-def]
    """Write the explicit forces on each link, across and along it, and the implicit weight."""
    sin, cos, w, u, change = rows[0], rows[1], rows[2], rows[3], rows[4]
    force_n, force_t, weight = rows[5], rows[6], rows[7]
    mass, last_x, last_y = load.added * load.link, 0.0, 0.0
    for i in range(len(omega)):
        into_n, into_t = load.added * u[i] * w[i], -0.5 * load.added * w[i] * w[i]
        flux_x = -into_n * sin[i] + into_t * cos[i]
        flux_y = into_n * cos[i] + into_t * sin[i]
        net_x, net_y = flux_x - last_x, flux_y - last_y
        last_x, last_y = flux_x, flux_y
        damp = 0.5 * load.normal * load.link * abs(w[i])
        force_n[i] = -mass * change[i] - damp * sin[i] - net_x * sin[i] + net_y * cos[i]
        force_t[i] = mass * w[i] * omega[i] + net_x * cos[i] + net_y * sin[i]
        force_t[i] -= 0.5 * load.tangent * load.link * abs(u[i]) * u[i]
        weight[i] = mass + damp * load.dt


@kernel(nogil=True, error_model="numpy")
def _system(load, theta, omega, rows, squares, right):  # type: ignore[no-untyped-def]
    """Write the linear system of the rates after the step."""
    n = len(theta)
    lever, slide, own, left = squares[0], squares[1], squares[2], squares[3]
    force_n, force_t, weight, rest = rows[5], rows[6], rows[7], rows[9]
    mass = load.added * load.link
    for i in range(n):
        bend = load.joint[i] * (theta[i] - rest[i] - (theta[i - 1] if i else 0.0))
        if i + 1 < n:
            bend -= load.joint[i + 1] * (theta[i + 1] - theta[i] - rest[i + 1])
        total = -load.dt * bend
        for j in range(n):
            # ``left`` still holds the inertia over the sines.
            total += own[i, j] * omega[j] - load.dt * left[i, j] * omega[j] * omega[j]
        right[i, 0] = total
    for i in range(n):
        for j in range(n):
            left[i, j] = own[i, j] + load.dt * load.dt * load.hessian[i, j]
    for k in range(n):
        swing = 0.0
        for j in range(k + 1):
            swing += lever[k, j] * omega[j]
        for i in range(k + 1):  # a link does not move those before it
            right[i, 0] += mass * lever[k, i] * swing
            right[i, 0] += load.dt * (lever[k, i] * force_n[k] + slide[k, i] * force_t[k])
            scaled = weight[k] * lever[k, i]
            for j in range(k + 1):
                left[i, j] += scaled * lever[k, j]


@kernel(nogil=True, error_model="numpy")
def _measure(load, theta, omega, rows, squares, right, sums):  # type: ignore[no-untyped-def]
    """Move the ray by the rates found and add up what it did."""
    n = len(theta)
    sin, cos, lever, slide = rows[0], rows[1], squares[0], squares[1]
    mass, height, power, last = load.added * load.link, 0.0, 0.0, 0.0
    for i in range(n):
        speed, drift, before = 0.0, 0.0, 0.0
        for j in range(i + 1):
            speed += lever[i, j] * right[j, 0]
            drift += slide[i, j] * right[j, 0]
            before += lever[i, j] * omega[j]
        damp = (rows[7, i] - mass) / load.dt
        force_n = rows[5, i] - mass * (speed - before) / load.dt - damp * speed
        sums[0] += force_n * sin[i] - rows[6, i] * cos[i]
        sums[1] -= force_n * cos[i] + rows[6, i] * sin[i]
        sums[4] -= force_n * speed + rows[6, i] * drift
    first = 0.0
    for i in range(n):
        old = theta[i] - rows[8, i] - last
        last = theta[i]
        omega[i] = right[i, 0]
        theta[i] += load.dt * omega[i]
        new = theta[i] - rows[9, i] - (theta[i - 1] if i else 0.0)
        power -= load.joint[i] * 0.5 * (old + new) * (rows[9, i] - rows[8, i]) / load.dt
        height += math.sin(theta[i])
        if i == 0:
            first = new
    sums[2] += power
    sums[3] += max(power, 0.0)
    sums[5] += load.joint[0] * first
    sums[6] = max(sums[6], abs(height) * load.link)
