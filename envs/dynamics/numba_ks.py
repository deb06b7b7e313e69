"""Compiled twin of :class:`envs.dynamics.ks_solvers.DifferenceKs`; imported only when asked for."""

from __future__ import annotations

import numpy as np

try:
    from numba import njit
except ImportError as error:  # pragma: no cover - numba is installed where the tests run
    raise ImportError("backend='numba' needs numba: pip install 'rlcore[fast]'") from error

from envs.dynamics.ks_solvers import (
    BACKWARD,
    DX,
    FD_STEP,
    FD_SUBSTEPS,
    FIRST,
    FOURTH,
    POINTS,
    REACH,
    SECOND,
)


def weights(dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Return what :func:`difference_ks` multiplies by, in the precision of its fields.

    Weights of the second, fourth, first and upwind differences, then 1, 1/dx^2, 1/dx^4, 1/(2 dx)
    and 1/dx, then h/2, h, h/6 and 2.
    """
    scales = (1 / DX**2, 1 / DX**4, 1 / (2 * DX), 1 / DX)
    steps = (FD_STEP / 2, FD_STEP, FD_STEP / 6, 2.0)
    return tuple(np.array(w, dtype) for w in (SECOND, FOURTH, FIRST, BACKWARD, scales, steps))


@njit(nogil=True, error_model="numpy")
def difference_ks(
    u: np.ndarray,
    force: np.ndarray,
    physical: bool,
    total: np.ndarray,
    second: np.ndarray,
    fourth: np.ndarray,
    first: np.ndarray,
    upwind: np.ndarray,
    scales: np.ndarray,
    steps: np.ndarray,
) -> None:
    """Advance fields ``[n, 64]`` in place; add up the terms ``[3, n]`` of 250 substeps."""
    wide, square = np.empty(POINTS + 2 * REACH, u.dtype), np.empty(POINTS + 2 * REACH, u.dtype)
    k1, k2, k3, k4 = (
        np.empty_like(u[0]),
        np.empty_like(u[0]),
        np.empty_like(u[0]),
        np.empty_like(u[0]),
    )
    half, whole, sixth, two = steps[0], steps[1], steps[2], steps[3]
    for i in range(len(u)):
        row, f = u[i], force[i]
        k1[:] = 0
        for _ in range(FD_SUBSTEPS):
            _widen(row, k1, steps[0] - steps[0], wide, square)
            _measure(wide, square, f, physical, total[:, i], second, first, upwind, scales)
            _rate(wide, square, f, k1, second, fourth, upwind, scales)
            _widen(row, k1, half, wide, square)
            _rate(wide, square, f, k2, second, fourth, upwind, scales)
            _widen(row, k2, half, wide, square)
            _rate(wide, square, f, k3, second, fourth, upwind, scales)
            _widen(row, k3, whole, wide, square)
            _rate(wide, square, f, k4, second, fourth, upwind, scales)
            for j in range(POINTS):
                row[j] += sixth * (k1[j] + two * k2[j] + two * k3[j] + k4[j])


@njit(nogil=True, error_model="numpy")
def _widen(
    row: np.ndarray, rate: np.ndarray, h: float, wide: np.ndarray, square: np.ndarray
) -> None:
    """Write row + h rate, wrapped round on both sides, and its square."""
    for j in range(POINTS):
        wide[REACH + j] = row[j] + h * rate[j]
    for j in range(REACH):
        wide[j] = wide[POINTS + j]
        wide[POINTS + REACH + j] = wide[REACH + j]
    for j in range(POINTS + 2 * REACH):
        square[j] = wide[j] * wide[j]


@njit(nogil=True, error_model="numpy")
def _rate(
    wide: np.ndarray,
    square: np.ndarray,
    force: np.ndarray,
    out: np.ndarray,
    second: np.ndarray,
    fourth: np.ndarray,
    upwind: np.ndarray,
    scales: np.ndarray,
) -> None:
    for j in range(POINTS):
        c = j + REACH
        two, four = second[0] * wide[c], fourth[0] * wide[c]
        for d in range(1, 4):
            two += second[d] * (wide[c + d] + wide[c - d])
        for d in range(1, 5):
            four += fourth[d] * (wide[c + d] + wide[c - d])
        slope = upwind[0] * square[c]
        if wide[c] < 0:
            slope = -slope
            for d in range(1, 5):
                slope -= upwind[d] * square[c + d]
        else:
            for d in range(1, 5):
                slope += upwind[d] * square[c - d]
        out[j] = force[j] - (four * scales[1] + two * scales[0]) - slope * scales[2]


@njit(nogil=True, error_model="numpy")
def _measure(
    wide: np.ndarray,
    square: np.ndarray,
    force: np.ndarray,
    physical: bool,
    total: np.ndarray,
    second: np.ndarray,
    first: np.ndarray,
    upwind: np.ndarray,
    scales: np.ndarray,
) -> None:
    """Add this instant's curvature, slope and power, averaged over the period."""
    for j in range(POINTS):
        c = j + REACH
        two, one = second[0] * wide[c], first[0] * wide[c]
        for d in range(1, 4):
            two += second[d] * (wide[c + d] + wide[c - d])
        if physical:
            two *= scales[0]
            for d in range(1, 4):
                one += first[d] * (wide[c + d] - wide[c - d])
            one *= scales[3]
        elif wide[c] < 0:
            for d in range(5):
                one -= upwind[d] * square[c + d]
        else:
            for d in range(5):
                one += upwind[d] * square[c - d]
        total[0] += two * two / POINTS
        total[1] += one * one / POINTS
        total[2] += wide[c] * force[j] / POINTS
