"""Van der Pol: limit cycle, reward, bounds, returns of known policies."""

import numpy as np
import pytest

from envs.dynamics.policies import vanderpol_gain
from envs.dynamics.rk4 import rk4
from envs.dynamics.vanderpol import VanDerPol, vanderpol_field
from tests.envs.dynamics.rollout import rollout, starts


def test_the_limit_cycle_has_the_known_amplitude_and_period():
    # mu = 2: amplitude 2.01989, period 7.62987.
    model = VanDerPol()
    state = {"x": np.array([0.5]), "v": np.array([0.0])}
    xs = []
    for _ in range(1000):
        state = model.step(state, np.zeros((1, 1), np.float32), []).state
        xs.append(state["x"][0])
    late = np.array(xs[500:])
    assert late.max() == pytest.approx(2.0199, abs=2e-3)
    up = np.flatnonzero((late[:-1] < 0) & (late[1:] >= 0))
    times = 0.1 * (up - late[up] / (late[up + 1] - late[up]))
    assert np.diff(times).mean() == pytest.approx(7.6299, abs=2e-3)


def test_reward_is_that_of_the_state_reached():
    model = VanDerPol()
    state = {"x": np.array([1.0, -0.3]), "v": np.array([2.0, 0.7])}
    outcome = model.step(state, np.array([[0.4], [-1.0]], np.float32), [])
    x, v = outcome.state["x"], outcome.state["v"]
    force = 5 * np.array([0.4, -1.0], np.float32).astype(float)
    np.testing.assert_allclose(outcome.reward, -(x**2 + 0.1 * v**2 + 0.001 * force**2), rtol=1e-14)
    np.testing.assert_allclose(model.observe(outcome.state), np.stack([x, v], 1), rtol=1e-7)


def test_a_small_push_moves_as_the_linear_equation_says():
    # x'' = 2 x' - x + u from rest: (t - 1) e^t + 1 times u
    model = VanDerPol()
    state = {"x": np.zeros(1), "v": np.zeros(1)}
    x = model.step(state, np.array([[1e-4]], np.float32), []).state["x"][0]
    t = 0.1
    assert x == pytest.approx(5e-4 * ((t - 1) * np.exp(t) + 1), rel=1e-4)


def test_a_step_is_five_steps_of_two_hundredths():
    model, actions = VanDerPol(), np.array([[1.0]], np.float32)
    state = {"x": np.array([1.5]), "v": np.array([6.0])}
    got = model.step(dict(state), actions, []).state
    exact = rk4(vanderpol_field, (1.5, 6.0), 5.0, 0.1 / 400, 400)
    error = max(abs(got["x"][0] - exact[0]), abs(got["v"][0] - exact[1]))
    assert 6e-7 < error < 1e-6  # 2e-6 in four steps, 4e-7 in six


def test_starts_fill_the_square():
    state = starts(VanDerPol(), 2000)
    for values in state.values():
        assert np.abs(values).max() <= 3
        assert values.std() == pytest.approx(np.sqrt(3), rel=0.05)
        assert np.abs(values).max() > 2.98
    assert abs(np.corrcoef(state["x"], state["v"])[0, 1]) < 0.08


def test_no_policy_leaves_the_observation_space():
    model = VanDerPol()
    largest = np.zeros(2)
    for push in (
        lambda s: np.sign(s["v"]),
        lambda s: np.sign(s["x"]),
        lambda s: -np.sign(s["x"]),
        lambda s: np.ones(len(s["x"])),
    ):
        state = starts(model, 300)
        for _ in range(150):
            state = model.step(state, push(state)[:, None].astype(np.float32), []).state
            largest = np.maximum(largest, np.abs(model.observe(state)).max(0))
    assert (largest <= model.observation_space.high).all()
    assert largest[0] > 3.5
    assert largest[1] > 7


@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [("zero", -506, 54), ("random", -537, 67), ("lqr", -28, 32)]
)
def test_returns_of_known_policies(name, mean, deviation):
    n, rng, gain = 400, np.random.default_rng(1), vanderpol_gain()
    policies = {
        "zero": lambda s: np.zeros((n, 1)),
        "random": lambda s: rng.uniform(-1, 1, (n, 1)),
        "lqr": lambda s: np.clip(-np.stack([s["x"], s["v"]], 1) @ gain.T / 5, -1, 1),
    }
    model = VanDerPol()
    total, state, _ = rollout(model, starts(model, n), policies[name], 200)
    assert total.mean() == pytest.approx(mean, abs=4 * deviation * np.sqrt(1 / n + 1 / 40))
    assert total.std() == pytest.approx(deviation, rel=0.35)
    if name == "lqr":
        assert np.abs(state["x"]).max() < 1e-3
