"""Burgers: both solvers against an exact solution, the target, returns of known policies."""

import math

import gymnasium
import numpy as np
import pytest

from envs.dynamics.burgers import INTERVAL, POINTS, VISCOSITY, Burgers, difference_moved, target
from tests.envs.dynamics.rollout import rollout, starts

X = np.arange(POINTS) / POINTS


def exact(time, level=0.4, a=0.8):
    """A solution by the Cole-Hopf transform, carried along by a uniform stream."""
    k = 2 * math.pi
    phase = k * (X - level * time)
    decay = a * math.exp(-VISCOSITY * k**2 * time)
    return level + 2 * VISCOSITY * k * decay * np.sin(phase) / (1 + decay * np.cos(phase))


def test_the_exact_solution_solves_the_equation():
    dt, dx = 1e-5, 1 / POINTS
    u = exact(0.3)
    k = 2 * math.pi * np.fft.rfftfreq(POINTS, dx)
    u_x = np.fft.irfft(1j * k * np.fft.rfft(u), POINTS)
    u_xx = np.fft.irfft(-(k**2) * np.fft.rfft(u), POINTS)
    u_t = (exact(0.3 + dt) - exact(0.3 - dt)) / (2 * dt)
    np.testing.assert_allclose(u_t, VISCOSITY * u_xx - u * u_x, atol=1e-7)


@pytest.mark.parametrize(("solver", "close"), [("etdrk4", 5e-7), ("fd_euler", 2e-3)])
def test_exact_solution(solver, close):
    model = Burgers(solver)
    state = {"u": exact(0.0)[None], "time": np.zeros(1), "push": None}
    still = np.full((1, 2), -0.5, np.float32)
    for step in (1, 2, 3):
        state = model.step(state, still, []).state
        np.testing.assert_allclose(state["u"][0], exact(step * INTERVAL), atol=close)
    assert np.abs(exact(0) - exact(1.5)).max() > 0.05


def test_the_solvers_agree_under_force():
    state = starts(Burgers(), 4)
    force = Burgers().force(np.array([[0.075, -0.025]] * 4))
    spectral, differences = state["u"], state["u"]
    model = Burgers()
    for _ in range(4):
        spectral = model._spectral_moved(spectral, force)
        differences = difference_moved(differences, force)
    np.testing.assert_allclose(spectral, differences, atol=0.01)
    assert np.abs(spectral - state["u"]).max() > 0.05
    bump = math.sqrt(math.pi / 225)
    drift = 4 * INTERVAL * bump * (0.075 - 0.025)
    np.testing.assert_allclose((spectral - state["u"]).mean(-1), drift, rtol=1e-6)


def test_actions_are_spread_over_the_published_range():
    model = Burgers()
    for action, push in ((-1.0, -0.025), (-0.5, 0.0), (0.0, 0.025), (1.0, 0.075)):
        actions = np.array([[action, -0.5]], np.float32)
        state = model.step(starts(model, 1), actions, []).state
        np.testing.assert_allclose(state["push"], [[push, 0.0]], atol=1e-9)
    shapes = model.force(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(shapes[0], np.exp(-225 * (X - 0.25) ** 2))
    np.testing.assert_allclose(shapes[1], np.exp(-225 * (X - 0.75) ** 2))


def test_target_reward_and_observation():
    assert target(np.array([0.0, 7.5, 22.5, 30.0])) == pytest.approx([0.5, 0.55, 0.45, 0.5])
    env = gymnasium.make("envs:dynamics/burgers-v0")
    obs, _ = env.reset(seed=4)
    share = np.random.Generator(np.random.PCG64(np.random.SeedSequence(4))).random()
    start = share * 0.2 * np.exp(-25 * (X - 0.5) ** 2) + (1 - share) * 0.2 * np.sin(4 * math.pi * X)
    np.testing.assert_allclose(obs, start + 0.2 - 0.5, atol=1e-6)
    for step in range(1, 61):
        obs, reward, terminated, truncated, _ = env.step(np.array([1, -1], np.float32))
        u = env.unwrapped.get_state()["model"]["u"][0]
        error = u - (0.5 + 0.05 * math.sin(math.pi * step * 0.5 / 15))
        assert reward == pytest.approx(-10 * (error**2).mean(), rel=1e-12)
        np.testing.assert_allclose(obs, error, atol=1e-6)
        assert (terminated, truncated) == (False, step == 60)


def test_no_policy_leaves_the_observation_space():
    model = Burgers()
    for action in (-1.0, 1.0):
        _, state, _ = rollout(model, starts(model, 3), lambda s, a=action: np.full((3, 2), a), 60)
        assert np.abs(model.observe(state)).max() < 3.2


def test_unknown_solver_is_named():
    with pytest.raises(ValueError, match=r"dynamics/burgers-v0: solver must be one of etdrk4"):
        Burgers("fd_rk4")
