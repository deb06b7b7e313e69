"""The chain: its matrices against finite differences, statics, frequency, energy."""

import math

import numpy as np
import pytest

from envs.finray.chain import (
    bending_hessian,
    bending_moments,
    make_chain,
    residuals,
    rest_moments,
)
from envs.finray.coupling import chain_arrays, delta, markers, move_chain, resistance
from envs.finray.fluid import Fluid
from envs.finray.patch import patch_box
from envs.finray.validation.chains import energy_lost, first_frequency, tip_under_load


def chain(**options):
    given = {"links": 8, "length": 16.0, "base": (3.0, 5.0), "mass": 0.7, "stiffness": 4.0}
    return make_chain(**given | options)


def test_mass_matrix_is_that_of_the_markers():
    c = chain(gravity=0.3)
    theta = np.linspace(-0.4, 0.9, 8)
    arrays = chain_arrays(c, np.array)

    def place(angles):
        return np.stack(markers(np, arrays, angles[None]), -1)[0]

    jacobian = np.stack([(place(theta + h) - place(theta - h)) / 2e-6
                         for h in 1e-6 * np.eye(8)], -1)  # fmt: skip
    mass = 0.7 * c.spacing * np.einsum("kdi,kdj->ij", jacobian, jacobian)
    ours = c.inertia * np.cos(theta[:, None] - theta)
    np.testing.assert_allclose(ours, mass, rtol=1e-7, atol=1e-7)
    pull = 0.3 * 0.7 * c.spacing * jacobian[:, 0].sum(0)
    np.testing.assert_allclose(-c.weight * np.sin(theta), pull, rtol=1e-6, atol=1e-8)


def test_length_and_markers():
    c = chain()
    assert (c.links, c.length, c.spacing, c.link) == (8, 16.0, 1.0, 2.0)
    points = c.points(np.linspace(-1, 1, 8)[None])[0]
    np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), 2.0, rtol=1e-12)
    x, y = markers(np, chain_arrays(c, np.array), np.zeros((1, 8)))
    np.testing.assert_allclose(x[0], 3.5 + np.arange(16))
    np.testing.assert_allclose(y, 5.0)


def test_bending_is_the_gradient_of_its_energy():
    c = chain()
    rng = np.random.default_rng(0)
    theta, a = rng.normal(0, 0.3, (1, 8)), np.array([[0.2]])
    rest = a @ c.turn
    gradient = bending_moments(np, c.joint, residuals(np, theta, rest))[0]
    step = 1e-6 * np.eye(8)
    numeric = [(c.bending(theta + h, a) - c.bending(theta - h, a))[0] / 2e-6 for h in step]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
    moved = bending_moments(np, c.joint, residuals(np, theta + 0.1, rest))[0]
    np.testing.assert_allclose(
        moved - gradient, bending_hessian(c.joint) @ np.full(8, 0.1), atol=1e-14
    )
    # The clamp is half a link from the middle of the first link.
    assert c.joint[0] == pytest.approx(4.0 / 1.0)
    assert c.joint[1] == pytest.approx(4.0 / 2.0)
    assert chain(pinned=True).joint[0] == 0.0


@pytest.mark.parametrize("shape", ["exponential", "uniform", "linear"])
def test_actuation_shapes_have_mean_one(shape):
    c = chain(shapes=(shape,))
    heights = np.array([1.0] + [2.0] * 7)
    curvature = c.turn[0] / heights * 16.0
    assert curvature.mean() == pytest.approx(1.0)
    if shape == "exponential":
        np.testing.assert_allclose(curvature[1:] / curvature[:-1], math.exp(-1 / 8 / 0.4))


def test_tip_load_and_elastica():
    assert tip_under_load(64, 1e-4)[1] / (1e-4 / 3) == pytest.approx(1.0, abs=1e-3)
    x, y = tip_under_load(64, 2.0)
    assert (y, 1 - x) == pytest.approx((0.4935, 0.1606), abs=5e-4)  # the elastica's known values
    x, y = tip_under_load(64, 10.0)
    assert (y, 1 - x) == pytest.approx((0.8106, 0.5550), abs=2e-3)


def test_first_frequency():
    assert first_frequency(16, 2000) == pytest.approx(1.0, abs=0.003)


def test_stepping_loses_the_energy_of_backward_euler():
    # A mode of frequency w loses a share w^2 of its energy a step: 2 pi w in a period.
    w = 2 * math.pi / 4000
    assert energy_lost(6, 4000, periods=5) == pytest.approx(
        1 - math.exp(-10 * math.pi * w), rel=0.02
    )


@pytest.mark.slow
def test_energy_drift_vanishes_with_the_step():
    assert 0 < energy_lost(8, 600_000) < 1e-3


def test_delta_function_has_its_moments():
    grid = np.arange(20.0)
    x = np.random.default_rng(0).uniform(5, 15, (1, 200))
    weights = delta(np, x, grid)[0]
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-14)
    np.testing.assert_allclose(weights @ grid, x[0], atol=1e-13)
    np.testing.assert_allclose((weights**2).sum(1), 0.5, atol=1e-13)
    assert (np.count_nonzero(weights, axis=1) <= 3).all()


def test_the_force_enforces_the_markers_velocity():
    """After the force has acted, the fluid at the markers moves with them (but for the 0.05)."""
    c = chain(mass=1e-3)
    arrays = chain_arrays(c, np.array)
    theta = np.linspace(0.1, 0.4, 8)[None]
    x, y = markers(np, arrays, theta)
    along_x, along_y = delta(np, x, np.arange(30.0)), delta(np, y, np.arange(20.0))
    b = resistance(np, along_x, along_y, c.spacing)
    np.testing.assert_allclose(b, b.swapaxes(1, 2), atol=1e-14)
    u, v = np.full((1, 16), 0.05), np.linspace(0, 0.02, 16)[None]
    none = np.zeros((1, 8))
    motion = move_chain(np, arrays, theta, none, none, none, b, u, v)
    overlap = (along_x @ along_x.swapaxes(1, 2)) * (along_y @ along_y.swapaxes(1, 2))
    after = u[0] + overlap[0] @ motion.force_x[0] / 2
    marker_u = -(arrays.arms * np.sin(theta) * motion.omega).sum(1)
    gap = marker_u - after
    np.testing.assert_allclose(gap, 0.05 * motion.force_x[0] / (2 * c.spacing), atol=1e-12)
    assert np.abs(gap).max() < 0.2 * np.abs(marker_u - u[0]).max()


def test_moments_of_the_actuation():
    c = chain(shapes=("exponential", "uniform"))
    straight = np.zeros((2, 8))
    pull = -bending_moments(np, c.joint, residuals(np, straight, np.eye(2) @ c.turn))
    np.testing.assert_allclose(rest_moments(c), pull, atol=1e-15)


def test_patch_holds_every_cell_that_the_ray_can_reach():
    fluid = Fluid(60, 50, 0.01, np.full(50, 0.02))
    c = chain(base=(20.0, 25.37))
    left, low, width, height = patch_box(fluid, c)
    for angle in np.linspace(0, 2 * np.pi, 16):
        x, y = markers(np, chain_arrays(c, np.array), np.full((1, 8), angle))
        cells_x, cells_y = np.floor(x + 0.5), np.floor(y + 0.5)
        assert left < cells_x.min() - 1 or left == 1
        assert cells_x.max() + 1 < left + width
        assert low <= cells_y.min() - 1
        assert cells_y.max() + 1 < low + height
    with pytest.raises(ValueError, match="reaches across the sides of 30 rows"):
        patch_box(Fluid(60, 30, 0.01, np.full(30, 0.02)), chain(base=(20.0, 15.0)))
