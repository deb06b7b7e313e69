"""Cart-pole: mechanics by conservation laws, reward, end."""

import math

import gymnasium
import numpy as np
import pytest

from envs.dynamics.cartpole_swingup import NAMES, CartPoleSwingUp, cartpole_field
from envs.dynamics.policies import cartpole_gain
from envs.dynamics.rk4 import rk4
from tests.envs.dynamics.rollout import rollout, starts


def energy(s):
    """Kinetic and potential energy of cart (1 kg) and uniform pole (0.1 kg, 1 m)."""
    _, v, angle, rate = (s[name] for name in NAMES)
    along = v + 0.5 * rate * np.cos(angle)
    across = -0.5 * rate * np.sin(angle)
    turning = 0.5 * (0.1 / 3 * 0.25) * rate**2
    return 0.5 * v**2 + 0.05 * (along**2 + across**2) + turning + 0.1 * 9.8 * 0.5 * np.cos(angle)


def momentum(s):
    return 1.1 * s["v"] + 0.1 * 0.5 * s["rate"] * np.cos(s["angle"])


def test_energy_and_momentum_are_conserved_without_force():
    model = CartPoleSwingUp(track=100)
    rng = np.random.default_rng(0)
    state = dict(zip(NAMES, rng.normal(0, [[1], [0.3], [2], [3]], (4, 20)), strict=True))
    e, p = energy(state), momentum(state)
    _, state, _ = rollout(model, state, lambda s: np.zeros((20, 1)), 100)
    np.testing.assert_allclose(energy(state), e, atol=2e-5)
    np.testing.assert_allclose(momentum(state), p, atol=1e-6)


def test_a_step_is_two_steps_of_a_hundredth():
    model = CartPoleSwingUp(track=100)
    start = np.array([[0.0], [1.0], [1.0], [15.0]])
    got = model.step(dict(zip(NAMES, start, strict=True)), np.array([[1.0]], np.float32), []).state
    exact = rk4(cartpole_field, tuple(start), np.array([10.0]), 0.02 / 100, 100)
    error = max(abs(float(got[n][0]) - float(e[0])) for n, e in zip(NAMES, exact, strict=True))
    assert 5e-8 < error < 2e-7  # 1.5e-6 in one step, 2e-8 in three


def test_the_force_gives_momentum_and_work():
    model = CartPoleSwingUp(track=100)
    state = dict(zip(NAMES, np.array([[0.2], [0.5], [2.0], [1.0]]), strict=True))
    e, p, x = energy(state), momentum(state), state["x"].copy()
    _, state, _ = rollout(model, state, lambda s: np.full((1, 1), 0.5), 50)
    assert momentum(state) - p == pytest.approx(5.0 * 1.0, abs=1e-6)
    assert energy(state) - e == pytest.approx(5.0 * (state["x"] - x), abs=1e-5)


def test_the_equations_are_those_of_cartpole_v1():
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        state = rng.normal(0, [1, 1, 0.1, 2])
        env.state, env.steps_beyond_terminated = tuple(state), None
        after = env.step(1)[0]
        rates = np.array(cartpole_field(tuple(state), 10.0))
        np.testing.assert_allclose(after, state + 0.02 * rates, rtol=1e-5, atol=1e-6)


def test_reward_is_one_only_upright_still_and_in_the_middle():
    model = CartPoleSwingUp()
    still = np.zeros((1, 1), np.float32)

    def reward(x, v, angle, rate):
        state = dict(zip(NAMES, np.array([[x], [v], [angle], [rate]], float), strict=True))
        outcome = model.step(state, still, [])
        s = {name: float(values[0]) for name, values in outcome.state.items()}
        expected = (
            (1 + math.cos(s["angle"])) / 2 / (1 + (s["x"] / 1.2) ** 2) / (1 + (s["rate"] / 5) ** 2)
        )
        assert outcome.reward[0] == pytest.approx(expected, rel=1e-12)
        return outcome.reward[0]

    assert reward(0, 0, 0, 0) == 1
    assert reward(0, 0, math.pi, 0) == pytest.approx(0, abs=1e-12)
    assert reward(1.2, 0, 0, 0) == pytest.approx(0.5)
    assert reward(0, 0, 0.05, 5.0) < 0.55


def test_leaving_the_track_terminates():
    model = CartPoleSwingUp(track=1.0)
    state = dict(
        zip(
            NAMES,
            np.array([[0.99, -0.99, 0.99], [1, -1, -1], [3] * 3, [0] * 3], float),
            strict=True,
        )
    )
    outcome = model.step(state, np.zeros((3, 1), np.float32), [])
    assert outcome.terminated.tolist() == [True, True, False]
    assert all(model.observation_space.contains(obs) for obs in model.observe(outcome.state))


def test_starts_hang_near_rest():
    state = starts(CartPoleSwingUp(), 500)
    for name in NAMES:
        off = state[name] - (math.pi if name == "angle" else 0)
        assert np.abs(off).max() <= 0.1
        assert off.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    obs = CartPoleSwingUp().observe(state)
    np.testing.assert_allclose(obs[:, 2], np.cos(state["angle"]), atol=1e-7)
    np.testing.assert_allclose(obs[:, 3], np.sin(state["angle"]), atol=1e-7)
    np.testing.assert_allclose(
        obs[:, [0, 1, 4]].T, [state[k] for k in ("x", "v", "rate")], rtol=1e-6
    )


def test_the_regulator_balances():
    model, gain = CartPoleSwingUp(), cartpole_gain()
    state = dict(zip(NAMES, np.array([[0.3], [0.0], [0.2], [0.0]]), strict=True))
    policy = lambda s: np.clip(-gain @ np.array([s[name] for name in NAMES]) / 10, -1, 1).T  # noqa: E731
    _, state, _ = rollout(model, state, policy, 400)
    assert max(abs(float(values[0])) for values in state.values()) < 0.02


def test_bad_track_is_named():
    with pytest.raises(ValueError, match=r"dynamics/cartpole-swingup-v0: track must be"):
        CartPoleSwingUp(track=0.1)
