"""The D2Q9 lattice: velocities, equilibrium and the central-moment collision, on whole arrays.

Lattice units: cell size, time step and reference density are 1, the speed of sound is 1/sqrt(3).
The functions use arithmetic only, so they take NumPy arrays and torch tensors alike; they are the
readable twin of the kernels in :mod:`envs.finray.numba_kernels` and
:mod:`envs.finray.triton_kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CX = np.array([0, 1, 0, -1, 0, 1, -1, -1, 1])
"""Velocity of each population along x."""
CY = np.array([0, 0, 1, 0, -1, 1, 1, -1, -1])
"""Velocity of each population along y."""
OPPOSITE = np.array([0, 3, 4, 1, 2, 7, 8, 5, 6])
"""Population with the reversed velocity."""
MIRROR = np.array([0, 1, 4, 3, 2, 8, 7, 6, 5])
"""Population with the velocity mirrored in a horizontal line."""

WALLS = ("periodic", "free_slip", "no_slip")
"""What the lower and upper sides of the domain are; walls lie half a cell outside the last row."""
ENDS = ("open", "periodic")
"""What the first and last columns are: inflow and outflow, or copies that close a period."""


def relaxation_rate(viscosity: float) -> float:
    """Return the relaxation rate omega of the shear moments, ``1 / (3 nu + 1/2)``."""
    return 1.0 / (3.0 * viscosity + 0.5)


def equilibrium(rho: Any, u: Any, v: Any) -> list[Any]:
    """Return the nine equilibrium populations (product form, fourth order in the velocity)."""
    along_x = {0: 2 / 3 - u * u, 1: (1 / 3 + u * u + u) / 2, -1: (1 / 3 + u * u - u) / 2}
    along_y = {0: 2 / 3 - v * v, 1: (1 / 3 + v * v + v) / 2, -1: (1 / 3 + v * v - v) / 2}
    return [rho * along_x[int(x)] * along_y[int(y)] for x, y in zip(CX, CY, strict=True)]


def density_and_momentum(f: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return the density and the bare momentum ``sum c f`` (without half of the body force)."""
    rho = f[0] + f[1] + f[2] + f[3] + f[4] + f[5] + f[6] + f[7] + f[8]
    jx = f[1] - f[3] + f[5] - f[6] - f[7] + f[8]
    jy = f[2] - f[4] + f[5] + f[6] - f[7] - f[8]
    return rho, jx, jy


def velocity(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the velocity of populations ``[n, 9, ...]`` along x and y, each ``[n, ...]``."""
    rho, jx, jy = density_and_momentum([f[:, q] for q in range(9)])
    return jx / rho, jy / rho


def collide(f: Sequence[Any], fx: Any, fy: Any, omega: float) -> tuple[list[Any], Any, Any]:
    """Relax the central moments of ``f`` under a body force.

    The shear moments relax with ``omega``; the bulk moment and everything of third and fourth
    order go to equilibrium at once (De Rosis, Huang & Coreixas 2019; the force enters every
    central moment, so that it is Galilean invariant).

    Args:
        f: The nine streamed populations, arrays of one shape.
        fx: Body force along x, an array of that shape or a number.
        fy: Body force along y.
        omega: Relaxation rate.

    Returns:
        The nine populations after collision and the velocity (with half of the force).
    """
    rho, jx, jy = density_and_momentum(f)
    u, v = (jx + 0.5 * fx) / rho, (jy + 0.5 * fy) / rho
    # Second central moments about u; the raw first moment is rho u - F/2.
    kxx = f[1] + f[3] + f[5] + f[6] + f[7] + f[8] - rho * u * u + u * fx
    kyy = f[2] + f[4] + f[5] + f[6] + f[7] + f[8] - rho * v * v + v * fy
    kxy = f[5] - f[6] + f[7] - f[8] - rho * u * v + 0.5 * (u * fy + v * fx)
    difference, kxy = (1 - omega) * (kxx - kyy), (1 - omega) * kxy
    kxx, kyy = rho / 3 + 0.5 * difference, rho / 3 - 0.5 * difference
    kx, ky, kxxy, kxyy, kxxyy = fx / 2, fy / 2, fy / 6, fx / 6, rho / 9
    # Binomial shift back to raw moments.
    pxx = kxx + 2 * u * kx + rho * u * u
    pyy = kyy + 2 * v * ky + rho * v * v
    pxy = kxy + u * ky + v * kx + rho * u * v
    qxxy = kxxy + 2 * u * kxy + v * kxx + u * u * ky + 2 * u * v * kx + rho * u * u * v
    qxyy = kxyy + 2 * v * kxy + u * kyy + v * v * kx + 2 * u * v * ky + rho * u * v * v
    rest = kxxyy + 2 * u * kxyy + 2 * v * kxxy + u * u * kyy + v * v * kxx + 4 * u * v * kxy
    rest = rest + 2 * u * v * v * kx + 2 * u * u * v * ky + rho * u * u * v * v
    jx, jy = rho * u + 0.5 * fx, rho * v + 0.5 * fy
    return populations(rho, jx, jy, pxx, pyy, pxy, qxxy, qxyy, rest), u, v


def populations(
    rho: Any, jx: Any, jy: Any, pxx: Any, pyy: Any, pxy: Any, qxxy: Any, qxyy: Any, rxxyy: Any
) -> list[Any]:
    """Return the nine populations that have the given raw moments."""
    return [
        rho - pxx - pyy + rxxyy,
        0.5 * (jx + pxx - qxyy - rxxyy),
        0.5 * (jy + pyy - qxxy - rxxyy),
        0.5 * (-jx + pxx + qxyy - rxxyy),
        0.5 * (-jy + pyy + qxxy - rxxyy),
        0.25 * (pxy + qxxy + qxyy + rxxyy),
        0.25 * (-pxy + qxxy - qxyy + rxxyy),
        0.25 * (pxy - qxxy - qxyy + rxxyy),
        0.25 * (-pxy - qxxy + qxyy + rxxyy),
    ]
