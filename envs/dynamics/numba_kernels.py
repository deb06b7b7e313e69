"""Compiled twins of the NumPy solvers, for ``backend="numba"``.

Each kernel does the operations of its NumPy twin in the same order and without contraction of
multiply and add, so that both give the same numbers. This module is imported only when a kernel is
asked for; without numba that raises an ``ImportError`` that says what to install.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from numba import njit
except ImportError as error:  # pragma: no cover - numba is installed where the tests run
    raise ImportError("backend='numba' needs numba: pip install 'rlcore[fast]'") from error

from envs.dynamics.lorenz import lorenz_field
from envs.dynamics.vanderpol import vanderpol_field

_lorenz_field: Any = njit(lorenz_field)
_vanderpol_field: Any = njit(vanderpol_field)


ROWS = 64
"""Rows worked on at a time: the innermost loop runs over rows, so that it is vectorised."""


@njit(nogil=True, error_model="numpy")
def lorenz(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, force: np.ndarray, step: float, substeps: int
) -> None:
    """Advance every row of the Lorenz system in place; twin of :func:`envs.dynamics.rk4.rk4`."""
    half, sixth = step / 2, step / 6
    for low in range(0, len(x), ROWS):
        high = min(low + ROWS, len(x))
        for _ in range(substeps):
            for i in range(low, high):
                a, b, c, u = x[i], y[i], z[i], force[i]
                a1, b1, c1 = _lorenz_field((a, b, c), u)
                a2, b2, c2 = _lorenz_field((a + half * a1, b + half * b1, c + half * c1), u)
                a3, b3, c3 = _lorenz_field((a + half * a2, b + half * b2, c + half * c2), u)
                a4, b4, c4 = _lorenz_field((a + step * a3, b + step * b3, c + step * c3), u)
                x[i] = a + sixth * ((a1 + a4) + 2.0 * (a2 + a3))
                y[i] = b + sixth * ((b1 + b4) + 2.0 * (b2 + b3))
                z[i] = c + sixth * ((c1 + c4) + 2.0 * (c2 + c3))


@njit(nogil=True, error_model="numpy")
def vanderpol(x: np.ndarray, v: np.ndarray, force: np.ndarray, step: float, substeps: int) -> None:
    """Advance every row of the Van der Pol oscillator in place."""
    half, sixth = step / 2, step / 6
    for low in range(0, len(x), ROWS):
        high = min(low + ROWS, len(x))
        for _ in range(substeps):
            for i in range(low, high):
                a, b, u = x[i], v[i], force[i]
                a1, b1 = _vanderpol_field((a, b), u)
                a2, b2 = _vanderpol_field((a + half * a1, b + half * b1), u)
                a3, b3 = _vanderpol_field((a + half * a2, b + half * b2), u)
                a4, b4 = _vanderpol_field((a + step * a3, b + step * b3), u)
                x[i] = a + sixth * ((a1 + a4) + 2.0 * (a2 + a3))
                v[i] = b + sixth * ((b1 + b4) + 2.0 * (b2 + b3))
