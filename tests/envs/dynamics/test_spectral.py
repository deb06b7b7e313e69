"""Exponential time differencing and the periodic grid."""

import math

import numpy as np
import pytest

from envs.dynamics.spectral import EtdRk4, PeriodicGrid, stage_mean


def test_linear_part_is_exact():
    rates = np.array([0.0, 0.3, -1.0, -2000.0])
    scheme = EtdRk4(rates, 0.5)
    moved, _ = scheme.step(np.ones((2, 4)), np.zeros_like, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(moved, np.exp([rates * 0.5] * 2), rtol=1e-14)


def test_constant_forcing_is_exact():
    rates = np.array([-1e-9, 0.3, -1.0, -2000.0])
    scheme = EtdRk4(rates, 0.5)
    moved, _ = scheme.step(np.zeros((1, 4)), np.zeros_like, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(moved[0], np.expm1(rates * 0.5) / rates, rtol=1e-12)


def test_converges_with_order_four_on_a_stiff_equation():
    # v' = -50 v + v^2 has v = 50 / (1 + (50/v0 - 1) e^(50 t)).
    exact = 50 / (1 + (50 / 20.0 - 1) * math.exp(50 * 0.1))
    errors = []
    for steps in (10, 20):
        scheme, v = EtdRk4(np.array([-50.0]), 0.1 / steps), np.array([[20.0]])
        for _ in range(steps):
            v, _ = scheme.step(v, lambda w: w * w, (0.0, 0.0, 0.0))
        errors.append(abs(v[0, 0] - exact))
    assert errors[0] < 1e-3
    assert 3.5 < math.log2(errors[0] / errors[1]) < 4.8


def test_forces_count_at_their_times():
    # v' = -v + t^2: v = t^2 - 2 t + 2 - 2 e^-t
    h = 0.2
    scheme = EtdRk4(np.array([-1.0]), h)
    moved, _ = scheme.step(np.zeros((1, 1)), np.zeros_like, (0.0, h * h / 4, h * h))
    assert moved[0, 0] == pytest.approx(h * h - 2 * h + 2 - 2 * math.exp(-h), abs=1e-12)


def test_stage_mean_is_simpsons_rule_for_a_slow_quantity():
    scheme = EtdRk4(np.array([0.0]), 0.1)
    v = np.array([[1.0]])
    _, stages = scheme.step(v, lambda w: w, (0.0, 0.0, 0.0))  # e^t
    assert stage_mean(v, stages)[0, 0] == pytest.approx(math.expm1(0.1) / 0.1, abs=1e-6)


@pytest.mark.parametrize(("points", "length"), [(64, 8 * math.pi), (150, 1.0)])
def test_products_are_free_of_aliases(points, length):
    grid = PeriodicGrid(points, length)
    rng = np.random.default_rng(0)
    v = grid.coefficients(rng.normal(0, 1, (3, points)))
    u = grid.field(v)
    np.testing.assert_allclose(grid.coefficients(u), v, atol=1e-12)
    # Against the same fields on a grid four times as fine, where no product has an alias.
    fine = PeriodicGrid(4 * points, length)
    wide = np.zeros((3, 2 * points + 1), complex)
    wide[:, : points // 2 + 1] = 4 * v
    product = fine.advection(wide)[:, : points // 2 + 1] * grid.kept / 4
    np.testing.assert_allclose(grid.advection(v), product, atol=1e-9 * np.abs(product).max())
    np.testing.assert_allclose(grid.inner(v, grid.advection(v)), 0, atol=1e-12)
    np.testing.assert_allclose(grid.inner(v, v), (u * u).mean(-1), rtol=1e-12)


def test_advection_of_a_sine():
    grid = PeriodicGrid(64, 2 * math.pi)
    u = np.sin(3 * grid.x)[None]
    expected = -3 * np.sin(3 * grid.x) * np.cos(3 * grid.x)
    np.testing.assert_allclose(
        grid.field(grid.advection(grid.coefficients(u)))[0], expected, atol=1e-13
    )
