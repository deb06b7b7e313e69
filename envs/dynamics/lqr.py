"""Linear-quadratic regulators, by NumPy alone."""

from __future__ import annotations

import numpy as np


def continuous_gain(a: np.ndarray, b: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return K of u = -K x that minimises the integral of x'Qx + u'Ru under x' = Ax + Bu.

    The Riccati equation is solved by the stable invariant subspace of its Hamiltonian matrix.

    Raises:
        ValueError: The pair cannot be stabilised: the subspace has not n dimensions.
    """
    n = len(a)
    hamiltonian = np.block([[a, -b @ np.linalg.solve(r, b.T)], [-q, -a.T]])
    values, vectors = np.linalg.eig(hamiltonian)
    stable = vectors[:, values.real < 0]
    if stable.shape[1] != n:
        raise ValueError(f"{stable.shape[1]} stable directions for {n} states: no regulator")
    p = (stable[n:] @ np.linalg.inv(stable[:n])).real
    return np.linalg.solve(r, b.T @ p)


def discrete_gain(
    a: np.ndarray, b: np.ndarray, q: np.ndarray, r: np.ndarray, tolerance: float = 1e-10
) -> np.ndarray:
    """Return K of u = -K x that minimises the sum of x'Qx + u'Ru under x <- Ax + Bu.

    The Riccati equation is solved by doubling (Chu, Fan and Lin 2005).

    Raises:
        ValueError: It does not converge: the pair cannot be stabilised.
    """
    eye = np.eye(len(a))
    step, gramian, p = a, b @ np.linalg.solve(r, b.T), q
    for _ in range(60):
        if not np.abs(p).max() < 1e100:  # it doubles its exponent at every turn
            break
        solved = np.linalg.solve(eye + gramian @ p, np.hstack([step, gramian]))
        ahead, spread = solved[:, : len(a)], solved[:, len(a) :]
        change = step.T @ p @ ahead
        step, gramian, p = step @ ahead, gramian + step @ spread @ step.T, p + change
        if np.abs(change).max() <= tolerance * np.abs(p).max():
            return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
    raise ValueError("the Riccati iteration does not converge: no regulator")
