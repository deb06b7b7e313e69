"""The Runge-Kutta method and its compiled twins."""

import math

import numpy as np
import pytest

from envs.dynamics.lorenz import Lorenz, lorenz_field
from envs.dynamics.rk4 import BLOCK, advance, rk4
from envs.dynamics.vanderpol import VanDerPol, vanderpol_field


def spring(state, force):
    return state[1], force - state[0]


def test_converges_with_order_four():
    exact = (1 + math.cos(1.0) * 1.0, -math.sin(1.0))  # x(0) = 2, v(0) = 0, force 1
    errors = []
    for substeps in (10, 20):
        x, v = rk4(spring, (2.0, 0.0), 1.0, 1.0 / substeps, substeps)
        errors.append(math.hypot(x - exact[0], v - exact[1]))
    assert errors[0] < 1e-6
    assert 3.8 < math.log2(errors[0] / errors[1]) < 4.2


def test_one_step_of_a_linear_equation_is_the_taylor_polynomial():
    (x,) = rk4(lambda s, force: (s[0],), (1.0,), 0.0, 0.5, 1)
    assert x == pytest.approx(1 + 0.5 + 0.5**2 / 2 + 0.5**3 / 6 + 0.5**4 / 24, abs=1e-15)


@pytest.mark.parametrize("rows", [1, 2, 5, BLOCK, BLOCK + 7])
def test_rows_do_not_depend_on_their_number(rows):
    rng = np.random.default_rng(rows)
    state = tuple(rng.normal(0, 10, (3, rows)))
    force = rng.uniform(-30, 30, rows)
    moved = advance(lorenz_field, state, force, 0.01, 5)
    for k in {0, rows // 2, rows - 1}:
        single = rk4(lorenz_field, tuple(float(s[k]) for s in state), float(force[k]), 0.01, 5)
        assert tuple(float(s[k]) for s in moved) == single


@pytest.mark.parametrize(("model_type", "names"), [(Lorenz, "xyz"), (VanDerPol, "xv")])
@pytest.mark.parametrize("rows", [1, 63, 64, 200])
def test_the_compiled_twin_gives_the_same_numbers(model_type, names, rows):
    pytest.importorskip("numba")
    rng = np.random.default_rng(rows)
    state = {name: rng.normal(0, 2, rows) for name in names}
    actions = rng.uniform(-1, 1, (rows, 1)).astype(np.float32)
    copies = [{name: values.copy() for name, values in state.items()} for _ in range(2)]
    plain = model_type().step(copies[0], actions, [])
    fast = model_type(backend="numba").step(copies[1], actions, [])
    for name in names:
        np.testing.assert_array_equal(plain.state[name], fast.state[name])
    np.testing.assert_array_equal(plain.reward, fast.reward)


def test_the_compiled_twin_starts_where_the_other_does():
    pytest.importorskip("numba")
    rngs = [[np.random.default_rng(k) for k in range(3)] for _ in range(2)]
    plain, fast = Lorenz().start(rngs[0], {}), Lorenz("numba").start(rngs[1], {})
    for name in "xyz":
        np.testing.assert_array_equal(plain[name], fast[name])


def test_vanderpol_field_is_the_equation():
    assert vanderpol_field((0.5, 2.0), 0.25) == (2.0, 2 * (1 - 0.25) * 2.0 - 0.5 + 0.25)
