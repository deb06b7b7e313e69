"""Two solvers of the forced Kuramoto-Sivashinsky equation over one control interval.

    u_t = -u_xxxx - u_xx - (u^2)_x / 2 + f(x),   period 8 pi, 64 points

Both return the new field and the time means of three terms of the reward, ``[n]`` each: curvature,
slope, power. Their meaning is chosen by ``measure``:

* ``physical``: <u_xx^2>, <u_x^2> and <u f>, so that d<u^2/2>/dt = slope - curvature + power;
* ``reference``: the mean squares of the *unscaled* difference sums for u_xx and (u^2)_x, that is
  without 1/dx^2 and 1/dx, and <u f>, at the start of each substep, as published (see
  :mod:`envs.dynamics.ks`).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from envs.dynamics.spectral import EtdRk4, PeriodicGrid, stage_mean

POINTS, LENGTH, INTERVAL = 64, 8 * math.pi, 0.25
DX = LENGTH / POINTS
FD_STEP, FD_SUBSTEPS = 1e-3, 250

# Weights at distance 0, 1, 2, ...: central differences of order 6, backward difference of order 4.
SECOND = (-49 / 18, 3 / 2, -3 / 20, 1 / 90)
FOURTH = (91 / 8, -122 / 15, 169 / 60, -2 / 5, 7 / 240)
FIRST = (0.0, 3 / 4, -3 / 20, 1 / 60)
BACKWARD = (25 / 12, -4.0, 3.0, -4 / 3, 1 / 4)
REACH = 4

Terms = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Curvature, slope and power, each ``[n]``."""


class KsSolver(Protocol):
    """Advances fields ``[n, 64]`` by one control interval under forces ``[n, 64]``."""

    def advance(self, u: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, Terms]:
        """Return the new fields and the terms of the reward."""
        ...


class SpectralKs:
    """Fourier modes up to 21, ETDRK4, in the frame that moves with the mean of u.

    In u = U + w(x - U t, t) the front w has mean 0 and the force on it travels: f(x + U t). A fast
    mean, which a steady force builds up, is then carried exactly; on the fixed grid a mean of 8
    would cost four digits.

    Args:
        measure: ``physical`` or ``reference``.
        substeps: Steps to a control interval of 0.25.
    """

    def __init__(self, measure: str, substeps: int) -> None:
        self.grid = PeriodicGrid(POINTS, LENGTH)
        self.linear = self.grid.k**2 - self.grid.k**4
        self._physical = measure == "physical"
        self._substeps = substeps
        self._step = INTERVAL / substeps
        self._scheme = EtdRk4(self.linear, self._step)

    def advance(self, u: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, Terms]:
        """Return the new fields and the terms of the reward."""
        w, f = self.grid.coefficients(u), self.grid.coefficients(force)
        mean = w[:, 0].real / POINTS
        w[:, 0] = 0.0
        turn = np.exp(0.5j * self._step * mean[:, None] * self.grid.k)
        total = np.zeros((3, len(u)))
        for k in range(self._substeps):
            forces = (f, f * turn, f * turn * turn)
            moved, stages = self._scheme.step(w, self.grid.advection, forces)
            if self._physical:
                times = zip((w, *stages), (*forces[:2], *forces[1:]), strict=True)
                first, *later = (np.stack(self._terms(*pair)) for pair in times)
                total += stage_mean(first, later)
            else:
                total += np.stack(unscaled_terms(self._seen(w, mean, k), force))
            w, f = moved, forces[2]
        curvature, slope, power = total / self._substeps
        if self._physical:
            power = power + mean * force.mean(-1)
        return self._seen(w, mean, self._substeps), (curvature, slope, power)

    def _seen(self, w: np.ndarray, mean: np.ndarray, substeps: int) -> np.ndarray:
        """Return the field on the fixed grid, after some steps of the moving one."""
        back = np.exp(-1j * substeps * self._step * mean[:, None] * self.grid.k)
        return np.asarray(mean[:, None] + self.grid.field(w * back))

    def settled(self, u: np.ndarray, intervals: int) -> np.ndarray:
        """Return fields of mean 0 after control intervals without force; nothing is measured."""
        w = self.grid.coefficients(u)
        still = np.zeros_like(w)
        for _ in range(intervals * self._substeps):
            w, _ = self._scheme.step(w, self.grid.advection, (still, still, still))
        return self.grid.field(w)

    def _terms(self, w: np.ndarray, f: np.ndarray) -> Terms:
        energy = (w.real**2 + w.imag**2) * self.grid.weights
        slope = (energy * self.grid.k**2).sum(-1)
        return (energy * self.grid.k**4).sum(-1), slope, self.grid.inner(w, f)


class DifferenceKs:
    """Differences of order 6, upwind differences of order 4 for (u^2)_x, 250 RK4 steps of 1e-3.

    The discretisation of the published control problem (see :mod:`envs.dynamics.ks`).

    Args:
        measure: ``physical`` or ``reference``.
        backend: ``numpy`` or ``numba``.
        precision: Of the fields within the interval: ``float32``, as published, or ``float64``.
    """

    def __init__(self, measure: str, backend: str, precision: str = "float64") -> None:
        self._physical = measure == "physical"
        self._backend = backend
        self._dtype = np.dtype(precision)

    def advance(self, u: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, Terms]:
        """Return the new fields and the terms of the reward."""
        u, force = u.astype(self._dtype), force.astype(self._dtype)
        total = np.zeros((3, len(u)))
        if self._backend == "numba":
            from envs.dynamics import numba_ks

            numba_ks.difference_ks(u, force, self._physical, total, *numba_ks.weights(self._dtype))
        else:
            u = self._moved(u, force, total)
        curvature, slope, power = total / FD_SUBSTEPS
        return u.astype(np.float64), (curvature, slope, power)

    def _moved(self, u: np.ndarray, force: np.ndarray, total: np.ndarray) -> np.ndarray:
        measure = physical_terms if self._physical else unscaled_terms
        h = FD_STEP
        for _ in range(FD_SUBSTEPS):
            k1 = difference_rate(u, force)
            k2 = difference_rate(u + h / 2 * k1, force)
            k3 = difference_rate(u + h / 2 * k2, force)
            k4 = difference_rate(u + h * k3, force)
            total += np.stack(measure(u, force))
            u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return u


def difference_rate(u: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return du/dt of fields ``[n, 64]`` by differences."""
    wide = _wrapped(u)
    diffusion = _central(wide, FOURTH) / DX**4 + _central(wide, SECOND) / DX**2
    return force - diffusion - _upwind(u, wide * wide) / (2 * DX)


def unscaled_terms(u: np.ndarray, force: np.ndarray) -> Terms:
    """Return the published reward's terms: difference sums without their powers of dx."""
    wide = _wrapped(u)
    curvature, slope = _central(wide, SECOND), _upwind(u, wide * wide)
    return _mean(curvature * curvature), _mean(slope * slope), _mean(u * force)


def physical_terms(u: np.ndarray, force: np.ndarray) -> Terms:
    """Return <u_xx^2>, <u_x^2> and <u f> by differences of order 6."""
    wide = _wrapped(u)
    curvature, slope = _central(wide, SECOND) / DX**2, _central(wide, FIRST, odd=True) / DX
    return _mean(curvature * curvature), _mean(slope * slope), _mean(u * force)


def _mean(field: np.ndarray) -> np.ndarray:
    mean: np.ndarray = field.mean(-1)
    return mean


def _wrapped(u: np.ndarray) -> np.ndarray:
    return np.concatenate([u[:, -REACH:], u, u[:, :REACH]], 1)


def _central(wide: np.ndarray, weights: tuple[float, ...], odd: bool = False) -> np.ndarray:
    """Return the (anti)symmetric difference of a field with ``REACH`` points on either side."""
    points = wide.shape[1] - 2 * REACH
    total = weights[0] * wide[:, REACH : REACH + points]
    for d, weight in enumerate(weights[1:], 1):
        left, right = wide[:, REACH - d :][:, :points], wide[:, REACH + d :][:, :points]
        total += weight * (right - left if odd else right + left)
    return total


def _upwind(u: np.ndarray, wide_square: np.ndarray) -> np.ndarray:
    """Return the difference sum for (u^2)_x, taken from where the wave comes."""
    points = u.shape[1]
    back, fore = np.zeros_like(u), np.zeros_like(u)
    for d, weight in enumerate(BACKWARD):
        back += weight * wide_square[:, REACH - d :][:, :points]
        fore -= weight * wide_square[:, REACH + d :][:, :points]
    return np.where(u < 0, fore, back)
