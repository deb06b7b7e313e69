"""Riccati equations with known solutions."""

import math

import numpy as np
import pytest

from envs.dynamics.lqr import continuous_gain, discrete_gain


def test_double_integrator():
    a, b = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]])
    gain = continuous_gain(a, b, np.eye(2), np.eye(1))
    np.testing.assert_allclose(gain, [[1.0, math.sqrt(3)]], atol=1e-12)


def test_scalar_continuous():
    # p^2 b^2 / r - 2 a p - q = 0 with a = 1, b = 2, q = 3, r = 4: p = 1 + 2 = 3, K = p b / r
    gain = continuous_gain(np.eye(1), 2 * np.eye(1), 3 * np.eye(1), 4 * np.eye(1))
    np.testing.assert_allclose(gain, [[1.5]], atol=1e-12)


def test_scalar_discrete_is_the_golden_ratio():
    one = np.eye(1)
    p = (1 + math.sqrt(5)) / 2
    np.testing.assert_allclose(discrete_gain(one, one, one, one), [[p / (1 + p)]], atol=1e-12)


def test_discrete_gain_solves_its_equation():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.7, (4, 4)), rng.normal(0, 1, (4, 2))
    q, r = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([0.5, 2.0])
    gain = discrete_gain(a, b, q, r)
    closed = a - b @ gain
    assert np.abs(np.linalg.eigvals(closed)).max() < 1
    p = sum(
        np.linalg.matrix_power(closed.T, k)
        @ (q + gain.T @ r @ gain)
        @ np.linalg.matrix_power(closed, k)
        for k in range(400)
    )
    np.testing.assert_allclose(gain, np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a), atol=1e-9)


def test_what_cannot_be_reached_has_no_regulator():
    a, b = np.diag([1.0, -1.0]), np.array([[0.0], [1.0]])
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        discrete_gain(2 * a, b, np.eye(2), np.eye(1))
    marginal = np.diag([0.0, -1.0])
    with pytest.raises(ValueError, match="no regulator"):
        continuous_gain(marginal, b, np.eye(2), np.eye(1))
