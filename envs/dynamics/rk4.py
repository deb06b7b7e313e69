"""The classical Runge-Kutta method over one control interval, for rows side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Components = tuple[Any, ...]
"""The components of a state: floats, or arrays ``[n]``."""

Field = Callable[[Components, Any], Components]
"""Time derivative of each component, from the components and the force."""

BLOCK = 4096
"""Rows worked on at a time: more does not stay in the cache between operations."""


def rk4(field: Field, state: Components, force: Any, step: float, substeps: int) -> Components:
    """Return ``state`` after ``substeps`` steps of length ``step`` under a constant ``force``.

    The same lines serve floats and arrays, and give the same bits for both.
    """
    half, sixth = step / 2, step / 6
    for _ in range(substeps):
        k1 = field(state, force)
        k2 = field(tuple([s + half * k for s, k in zip(state, k1, strict=True)]), force)
        k3 = field(tuple([s + half * k for s, k in zip(state, k2, strict=True)]), force)
        k4 = field(tuple([s + step * k for s, k in zip(state, k3, strict=True)]), force)
        state = tuple(
            [
                s + sixth * ((a + d) + 2.0 * (b + c))
                for s, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True)
            ]
        )
    return state


def advance(
    field: Field, state: Components, force: np.ndarray, step: float, substeps: int
) -> tuple[np.ndarray, ...]:
    """Return arrays ``[n]`` after one control interval of every row; see :func:`rk4`.

    A single row is worked out in Python floats, which are faster there than arrays of one.
    """
    n = len(force)
    if n == 1:
        row = tuple([float(component[0]) for component in state])
        return tuple([np.array([s]) for s in rk4(field, row, float(force[0]), step, substeps)])
    if n <= BLOCK:
        return rk4(field, state, force, step, substeps)
    result = tuple([np.empty(n) for _ in state])
    for low in range(0, n, BLOCK):
        rows = slice(low, low + BLOCK)
        part = tuple([component[rows] for component in state])
        moved = rk4(field, part, force[rows], step, substeps)
        for whole, values in zip(result, moved, strict=True):
            whole[rows] = values
    return result
