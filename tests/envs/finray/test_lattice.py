"""The lattice and its collision, against the definition of central moments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.finray.fluid import Fluid, finish_step, stream
from envs.finray.lattice import (
    CX,
    CY,
    MIRROR,
    OPPOSITE,
    collide,
    density_and_momentum,
    equilibrium,
    relaxation_rate,
    velocity,
)

POWERS = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (2, 1), (1, 2), (2, 2)]


def central_matrix(u, v):
    """Row p, column q: (c_q - u)^p; the definition, with nothing simplified."""
    return np.array([[(x - u) ** a * (y - v) ** b for x, y in zip(CX, CY, strict=True)]
                     for a, b in POWERS])  # fmt: skip


def collide_by_definition(f, fx, fy, omega):
    rho = f.sum()
    u = ((CX * f).sum() + fx / 2) / rho
    v = ((CY * f).sum() + fy / 2) / rho
    matrix = central_matrix(u, v)
    k = matrix @ f
    difference, shear = (1 - omega) * (k[3] - k[4]), (1 - omega) * k[5]
    after = np.array([rho, fx / 2, fy / 2, rho / 3 + difference / 2, rho / 3 - difference / 2,
                      shear, fy / 6, fx / 6, rho / 9])  # fmt: skip
    return np.linalg.solve(matrix, after), u, v


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 0.3), min_size=9, max_size=9),
    st.floats(-0.05, 0.05),
    st.floats(-0.05, 0.05),
    st.floats(0.2, 1.99),
)
def test_collision_is_the_relaxation_of_central_moments(f, fx, fy, omega):
    f = np.array(f)
    ours, u, v = collide(list(f), fx, fy, omega)
    exact, exact_u, exact_v = collide_by_definition(f, fx, fy, omega)
    assert (u, v) == pytest.approx((exact_u, exact_v), abs=1e-14)
    np.testing.assert_allclose(ours, exact, atol=1e-13)


def test_equilibrium_is_a_fixed_point_with_the_right_moments():
    f = equilibrium(1.1, 0.07, -0.05)
    rho, jx, jy = density_and_momentum(f)
    assert (rho, jx, jy) == pytest.approx((1.1, 0.077, -0.055), abs=1e-15)
    matrix = central_matrix(0.07, -0.05) @ np.array(f)
    np.testing.assert_allclose(matrix[3:], [1.1 / 3, 1.1 / 3, 0, 0, 0, 1.1 / 9], atol=1e-15)
    np.testing.assert_allclose(collide(f, 0.0, 0.0, 1.3)[0], f, atol=1e-15)


def test_force_adds_its_momentum():
    f = equilibrium(1.0, 0.02, 0.01)
    after, _, _ = collide(f, 3e-3, -2e-3, 1.7)
    _, jx, jy = density_and_momentum(after)
    assert (jx, jy) == pytest.approx((0.023, 0.008), abs=1e-15)


def test_lattice_tables():
    np.testing.assert_array_equal(CX[OPPOSITE], -CX)
    np.testing.assert_array_equal(CY[OPPOSITE], -CY)
    np.testing.assert_array_equal(CX[MIRROR], CX)
    np.testing.assert_array_equal(CY[MIRROR], -CY)
    assert len({*zip(CX.tolist(), CY.tolist(), strict=True)}) == 9
    assert relaxation_rate(1 / 6) == pytest.approx(1.0)


@pytest.mark.parametrize("walls", ["periodic", "free_slip", "no_slip"])
def test_a_closed_box_keeps_its_mass(walls):
    rng = np.random.default_rng(0)
    fluid = Fluid(12, 9, 0.02, np.zeros(9), walls, "periodic")
    f = fluid.uniform(2) * rng.uniform(0.98, 1.02, (2, 9, 9, 12))
    f[..., 0], f[..., -1] = f[..., -2], f[..., 1]
    mass = f[..., 1:-1].sum((1, 2, 3))
    for _ in range(50):
        f, _ = finish_step(np, fluid, stream(np, fluid, f), 0.0, 0.0, fluid.inlet)
    np.testing.assert_allclose(f[..., 1:-1].sum((1, 2, 3)), mass, rtol=1e-13)


def test_free_slip_is_the_mirror_image():
    """A field symmetric in the middle line behaves as half of it over a free-slip wall."""
    rng = np.random.default_rng(1)
    half = Fluid(10, 6, 0.03, np.full(6, 0.02), "free_slip")
    whole = Fluid(10, 12, 0.03, np.full(12, 0.02), "free_slip")
    f = half.uniform(1) * rng.uniform(0.97, 1.03, (1, 9, 6, 10))
    g = np.concatenate((f[:, MIRROR, ::-1], f), 2)
    for _ in range(20):
        f, _ = finish_step(np, half, stream(np, half, f), 0.0, 0.0, half.inlet)
        g, _ = finish_step(np, whole, stream(np, whole, g), 0.0, 0.0, whole.inlet)
    np.testing.assert_allclose(g[:, :, 6:], f, atol=1e-14)


def test_inflow_and_outflow_columns():
    fluid = Fluid(10, 5, 0.05, np.linspace(0.01, 0.03, 5))
    f = fluid.uniform(1) * 1.02
    f, speed = finish_step(np, fluid, stream(np, fluid, f), 0.0, 0.0, fluid.inlet)
    u, v = velocity(f)
    np.testing.assert_allclose(u[0, :, 0], fluid.inlet, atol=1e-15)
    np.testing.assert_allclose(v[0, :, 0], 0.0, atol=1e-16)
    np.testing.assert_allclose(f[..., 0].sum(1), f[..., 1].sum(1), atol=1e-14)
    np.testing.assert_array_equal(f[..., -1], f[..., -2])
    assert speed[0] == pytest.approx(np.hypot(u, v)[0, :, 1:-1].max(), rel=1e-12)
