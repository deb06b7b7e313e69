"""Periodic fields by their Fourier coefficients, and exponential time differencing (ETDRK4).

A field ``[n, N]`` on a periodic grid is kept as ``np.fft.rfft`` of it, ``[n, N/2 + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

CONTOUR = 32
"""Points on the circle that the coefficients are averaged over."""


class EtdRk4:
    """Fourth-order exponential Runge-Kutta for v' = L v + N(v, t) with a diagonal L.

    Cox and Matthews (2002), equations 26-29; the coefficients are means over a circle in the
    complex plane, where the closed forms lose digits for small L h (Kassam and Trefethen 2005).

    Args:
        linear: L, real, ``[m]``.
        step: h.
    """

    def __init__(self, linear: np.ndarray, step: float) -> None:
        z = linear * step
        circle = np.exp(1j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
        p = z[:, None] + circle
        e = np.exp(p)
        self.full, self.half = np.exp(z), np.exp(z / 2)
        self.into_half = step * ((np.exp(p / 2) - 1) / p).real.mean(1)
        self.first = step * ((-4 - p + e * (4 - 3 * p + p**2)) / p**3).real.mean(1)
        self.middle = step * (2 * (2 + p + e * (p - 2)) / p**3).real.mean(1)
        self.last = step * ((-4 - 3 * p - p**2 + e * (4 - p)) / p**3).real.mean(1)

    def step(
        self,
        v: np.ndarray,
        nonlinear: Callable[[np.ndarray], np.ndarray],
        forces: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return v after one step, and the stages at h/2, h/2 and h for :func:`stage_mean`.

        Args:
            v: ``[n, m]``.
            nonlinear: The part of N that depends on v.
            forces: The rest of it, at the start, the middle and the end of the step.
        """
        n_v = nonlinear(v) + forces[0]
        halfway = self.half * v
        a = halfway + self.into_half * n_v
        n_a = nonlinear(a) + forces[1]
        b = halfway + self.into_half * n_a
        n_b = nonlinear(b) + forces[1]
        c = self.half * a + self.into_half * (2 * n_b - n_v)
        n_c = nonlinear(c) + forces[2]
        moved = self.full * v + self.first * n_v + self.middle * (n_a + n_b) + self.last * n_c
        return moved, (a, b, c)


def stage_mean(start: np.ndarray, stages: Sequence[np.ndarray]) -> np.ndarray:
    """Return the time mean over a step of a quantity known at its start and three stages.

    It is what the Runge-Kutta method gives for the integral when it is added to the equations.
    """
    a, b, c = stages
    return np.asarray((start + 2 * (a + b) + c) / 6)


class PeriodicGrid:
    """Wave numbers, truncation and products on a periodic grid.

    Args:
        points: N, even.
        length: Period.
    """

    def __init__(self, points: int, length: float) -> None:
        self.points, self.length = points, length
        self.x = np.arange(points) * (length / points)
        modes = np.arange(points // 2 + 1)
        self.k = 2 * np.pi * modes / length
        # With modes below N/3 the square of a field has no alias among them: the energy that the
        # advection moves between modes is conserved to rounding.
        self.kept = 3 * modes < points
        self.weights = np.where(modes == 0, 1.0, 2.0) * self.kept / points**2

    def coefficients(self, u: np.ndarray) -> np.ndarray:
        """Return the Fourier coefficients of a field, modes from N/3 on removed."""
        return np.fft.rfft(u, axis=-1) * self.kept

    def field(self, v: np.ndarray) -> np.ndarray:
        """Return the field on the grid."""
        return np.fft.irfft(v, self.points, axis=-1)

    def advection(self, v: np.ndarray) -> np.ndarray:
        """Return the coefficients of -(u^2)_x / 2."""
        u = self.field(v)
        return np.fft.rfft(u * u, axis=-1) * (-0.5j * self.k * self.kept)

    def inner(self, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return the mean over the period of the product of two fields, ``[n]``."""
        return np.asarray(((v.real * w.real + v.imag * w.imag) * self.weights).sum(-1))
