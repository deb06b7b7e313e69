"""Kuramoto-Sivashinsky: both solvers against closed forms, each other and the published numbers."""

import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.dynamics.ks import KuramotoSivashinsky, actuators
from envs.dynamics.ks_solvers import (
    DX,
    LENGTH,
    DifferenceKs,
    SpectralKs,
    difference_rate,
    physical_terms,
    unscaled_terms,
)
from tests.envs.dynamics.rollout import rollout, starts

DATA = Path(__file__).parent / "data" / "ks_init.npy"
X = np.arange(64) * DX


@pytest.fixture(scope="module")
def published_starts():
    return np.load(DATA, allow_pickle=False).astype(float)


@pytest.fixture(scope="module")
def fields():
    """Fields ``[8, 64]`` of the chaotic front, and forces on them."""
    model = KuramotoSivashinsky()
    actions = np.random.default_rng(1).uniform(-0.5, 0.5, (8, 4))
    return starts(model, 8)["u"], model.force(actions)


# -- the published numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_reference_numbers(published_starts, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    env = gymnasium.make(
        "envs:dynamics/ks-v0", solver="fd_rk4", reward="reference", backend=backend
    )
    obs, _ = env.reset(seed=0, options={"u": published_starts[0]})
    np.testing.assert_array_equal(obs, published_starts[0].astype(np.float32))
    rewards = [env.step(np.zeros(4, np.float32)) for _ in range(40)]
    obs = rewards[-1][0]
    rewards = [step[1] for step in rewards]
    assert rewards[0] == pytest.approx(-0.843793, abs=2e-6)
    assert sum(rewards) == pytest.approx(-28.0777, abs=3e-4)
    np.testing.assert_allclose(obs[:3], [-0.99779, -0.87868, -0.71328], atol=3e-5)


def test_double_precision_shows_how_far_single_precision_drifts(published_starts):
    pytest.importorskip("numba")
    model = KuramotoSivashinsky("fd_rk4", "reference", backend="numba", precision="float64")
    state = {"u": published_starts[:1], "action": None}
    total, state, _ = rollout(model, state, lambda s: np.zeros((1, 4)), 40)
    assert total[0] == pytest.approx(-28.0777, abs=2e-3)
    assert total[0] == pytest.approx(-28.079086285, abs=1e-8)
    np.testing.assert_allclose(state["u"][0, :3], [-0.99779, -0.87868, -0.71328], atol=1e-4)


def test_set_state_goes_on_from_any_field(published_starts):
    env = gymnasium.make("envs:dynamics/ks-v0", solver="fd_rk4", reward="reference").unwrapped
    env.reset(seed=0)
    state = env.get_state()
    state["model"]["u"][0] = published_starts[0]
    env.set_state(state)
    assert env.step(np.zeros(4, np.float32))[1] == pytest.approx(-0.843793, abs=2e-6)


# -- terms and rates ------------------------------------------------------------------------------


def test_differences_of_sines_have_the_known_error():
    # Order 6 for u_xx and u_x, order 4 upwind for (u^2)_x.
    k = 2 * math.pi * 3 / LENGTH
    u, force = np.sin(k * X)[None], np.full((1, 64), 0.1)
    curvature, slope, power = physical_terms(u, force)
    assert curvature[0] == pytest.approx(k**4 / 2, rel=1e-4)
    assert slope[0] == pytest.approx(k**2 / 2, rel=1e-4)
    assert power[0] == pytest.approx(0, abs=1e-15)
    assert physical_terms(u, u)[2][0] == pytest.approx(0.5)
    exact = k**2 * np.sin(k * X) - k**4 * np.sin(k * X) - k * np.sin(k * X) * np.cos(k * X)
    np.testing.assert_allclose(difference_rate(u, 0 * u)[0], exact, atol=0.02)


def test_reference_terms_are_not_scaled():
    k = 2 * math.pi * 3 / LENGTH
    u = np.sin(k * X)[None]
    curvature, slope, _ = unscaled_terms(u, u)
    assert curvature[0] == pytest.approx(k**4 / 2 * DX**4, rel=1e-4)
    assert slope[0] == pytest.approx(((k * np.sin(2 * k * X)) ** 2).mean() * DX**2, rel=0.05)


def test_upwind_takes_the_side_that_the_wave_comes_from():
    # A spike is felt downstream only: to the right where u > 0, to the left where u < 0.
    for sign in (1.0, -1.0):
        u = np.full((1, 64), sign * 1.0)
        rates = []
        for bump in (0.0, 0.01):
            field = u.copy()
            field[0, 32] += sign * bump
            rates.append(difference_rate(field, 0 * u)[0])
        # 5 cells away only the upwind difference (4 cells) does not reach; 4 cells, it does, and
        # the fourth difference (4 cells) reaches both sides alike.
        change = rates[1] - rates[0]
        downstream, upstream = change[32 + int(sign) * 4], change[32 - int(sign) * 4]
        advected = -0.25 * ((1.01) ** 2 - 1) / (2 * DX)
        assert downstream - upstream == pytest.approx(sign * sign * sign * advected, rel=1e-9)
        assert change[32 + int(sign) * 5] == 0


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_small_waves_grow_as_linear_theory_says(m):
    k = 2 * math.pi * m / LENGTH
    u = 1e-6 * np.cos(k * X)[None]
    growth = math.exp((k**2 - k**4) * 0.25)
    spectral, _ = SpectralKs("physical", 2).advance(u, 0 * u)
    np.testing.assert_allclose(spectral, u * growth, atol=1e-11)
    differences, _ = DifferenceKs("physical", "numpy").advance(u, 0 * u)
    np.testing.assert_allclose(differences, u * growth, atol=3e-9)


def test_no_actuator_reaches_an_unstable_wave():
    wave = np.sin(2 * (2 * math.pi / LENGTH) * X)
    k = 2 * (2 * math.pi / LENGTH)
    assert k**2 - k**4 == pytest.approx(3 / 16)
    np.testing.assert_allclose(actuators(wrapped=True) @ wave, 0, atol=1e-12)


def test_actuators():
    shapes = actuators(wrapped=True)
    assert shapes.shape == (4, 64)
    for k in range(4):
        assert shapes[k].argmax() == 16 * k
        assert shapes[k].max() == pytest.approx(1 / math.sqrt(2 * math.pi))
        assert shapes[k].sum() * DX == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(shapes[0, 1:], shapes[0, :0:-1])
    published = actuators(wrapped=False)
    np.testing.assert_allclose(published[1:], shapes[1:], atol=2e-9)  # half a period away
    assert published[0, 60:].max() < 1e-100
    assert published[0].sum() * DX == pytest.approx(0.5 + DX / 2 / math.sqrt(2 * math.pi), abs=1e-6)


# -- conservation and agreement -------------------------------------------------------------------


def test_energy_identity(fields):
    u, force = fields
    solver = SpectralKs("physical", 16)
    v, f = solver.grid.coefficients(u), solver.grid.coefficients(force)
    rate = solver.linear * v + solver.grid.advection(v) + f
    curvature, slope, power = solver._terms(v, f)
    np.testing.assert_allclose(solver.grid.inner(v, rate), slope - curvature + power, atol=1e-12)


@pytest.mark.parametrize(("substeps", "bound"), [(2, 1e-5), (4, 1e-6), (16, 1e-8)])
def test_energy_budget_of_a_control_step(fields, substeps, bound):
    u, force = fields
    solver = SpectralKs("physical", substeps)
    u = solver.grid.field(solver.grid.coefficients(u))
    moved, (curvature, slope, power) = solver.advance(u, force)
    gained = ((moved**2).mean(-1) - (u**2).mean(-1)) / 2
    assert np.abs(gained - 0.25 * (slope - curvature + power)).max() < bound


def test_self_convergence_has_order_four():
    u = np.cos(X / 4)[None]
    exact, _ = SpectralKs("physical", 64).advance(u, 0 * u)
    errors = [np.abs(SpectralKs("physical", n).advance(u, 0 * u)[0] - exact).max() for n in (2, 4)]
    assert 3.5 < math.log2(errors[0] / errors[1]) < 4.5
    assert errors[0] < 1e-7


@pytest.mark.parametrize("measure", ["physical", "reference"])
def test_the_solvers_agree(fields, measure):
    u, force = fields
    one, terms = SpectralKs(measure, 64).advance(u, force)
    other, other_terms = DifferenceKs(measure, "numpy").advance(u, force)
    np.testing.assert_allclose(one, other, atol=0.05)  # the differences' error at 64 points
    assert np.abs(one - u).max() > 0.2
    for a, b in zip(terms, other_terms, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.04, atol=1e-3)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("measure", ["physical", "reference"])
def test_the_compiled_twin_agrees(fields, measure, precision):
    pytest.importorskip("numba")
    u, force = fields
    one, terms = DifferenceKs(measure, "numpy", precision).advance(u, force)
    other, other_terms = DifferenceKs(measure, "numba", precision).advance(u, force)
    close = {"float64": 1e-12, "float32": 5e-5}[precision]
    np.testing.assert_allclose(one, other, atol=close)
    np.testing.assert_allclose(terms, other_terms, atol=close)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_batch_is_its_rows(seed):
    rng = np.random.default_rng(seed)
    u, force = rng.normal(0, 1, (3, 64)), rng.normal(0, 0.1, (3, 64))
    for solver in (SpectralKs("physical", 2), SpectralKs("reference", 2)):
        moved, terms = solver.advance(u, force)
        for k in range(3):
            single, single_terms = solver.advance(u[k : k + 1], force[k : k + 1])
            np.testing.assert_allclose(single[0], moved[k], rtol=0, atol=1e-12)
            for a, b in zip(terms, single_terms, strict=True):
                assert abs(a[k] - b[0]) < 1e-12


def test_a_batch_of_differences_is_its_rows(fields):
    u, force = fields
    for precision in ("float64", "float32"):
        solver = DifferenceKs("reference", "numpy", precision)
        moved, terms = solver.advance(u[:2], force[:2])
        single, single_terms = solver.advance(u[1:2], force[1:2])
        np.testing.assert_allclose(single[0], moved[1], rtol=0, atol=1e-12)
        np.testing.assert_allclose([t[1] for t in terms], [t[0] for t in single_terms], atol=1e-12)


def test_the_mean_moves_as_the_force_pushes(fields):
    u, force = fields
    for solver in (SpectralKs("physical", 2), DifferenceKs("physical", "numpy")):
        moved, _ = solver.advance(u, force)
        drift = moved.mean(-1) - u.mean(-1)
        # The differences do not keep the mean exactly where u changes its sign.
        close = 1e-12 if isinstance(solver, SpectralKs) else 2e-3
        np.testing.assert_allclose(drift, 0.25 * force.mean(-1), atol=close)


@pytest.mark.parametrize("mean", [3.0, -11.0])
def test_a_uniform_stream_carries_the_front(fields, mean):
    u, force = fields
    solver = SpectralKs("physical", 2)
    moved, terms = solver.advance(u, 0 * u)
    carried, same = solver.advance(u + mean, 0 * u)
    v = np.fft.rfft(moved)
    shifted = np.fft.irfft(v * np.exp(-0.25j * mean * solver.grid.k), 64)
    np.testing.assert_allclose(carried, shifted + mean, atol=1e-12)
    np.testing.assert_allclose(terms, same, atol=1e-12)
    exact, exact_terms = SpectralKs("physical", 64).advance(u + mean, force)
    forced, forced_terms = solver.advance(u + mean, force)
    np.testing.assert_allclose(forced, exact, atol=5e-4)
    np.testing.assert_allclose(forced_terms, exact_terms, rtol=1e-3, atol=1e-4)
    _, difference_terms = DifferenceKs("physical", "numpy").advance(u + mean, force)
    np.testing.assert_allclose(forced_terms[2], difference_terms[2], atol=0.02)
    assert np.abs(mean * force.mean(-1)).max() > 0.05


def test_reference_terms_are_those_of_the_field_where_it_is(fields):
    u, force = fields[0] + 6.0, fields[1]
    _, terms = SpectralKs("reference", 2).advance(u, force)
    halfway, _ = DifferenceKs("physical", "numpy").advance(u, force)  # only for the size of it
    assert np.abs(halfway - u).max() > 1
    # The second substep starts where the first of two half intervals ends.
    solver = SpectralKs("physical", 2)
    solver._substeps = 1
    middle, _ = solver.advance(u, force)
    u = solver.grid.field(solver.grid.coefficients(u))
    pairs = zip(unscaled_terms(u, force), unscaled_terms(middle, force), strict=True)
    np.testing.assert_allclose(terms, [(a + b) / 2 for a, b in pairs], rtol=1e-10)


def test_translation_and_reflection(fields):
    u, force = fields
    solver = SpectralKs("physical", 2)
    moved, terms = solver.advance(u, force)
    rolled, rolled_terms = solver.advance(np.roll(u, 5, 1), np.roll(force, 5, 1))
    np.testing.assert_allclose(rolled, np.roll(moved, 5, 1), atol=1e-12)
    np.testing.assert_allclose(terms, rolled_terms, atol=1e-12)
    mirrored, _ = solver.advance(-u[:, ::-1], -force[:, ::-1])
    np.testing.assert_allclose(mirrored, -moved[:, ::-1], atol=1e-12)


def test_long_run_averages_balance(published_starts):
    # Without force the energy is stationary on the attractor: <u_x^2> = <u_xx^2>.
    model = KuramotoSivashinsky()
    state = starts(model, 16)
    _, _, infos = rollout(model, state, lambda s: np.zeros((16, 4)), 600)
    slope = np.mean([info["slope"] for info in infos])
    curvature = np.mean([info["curvature"] for info in infos])
    assert slope == pytest.approx(curvature, rel=0.01)
    assert 0.9 < slope < 1.9
