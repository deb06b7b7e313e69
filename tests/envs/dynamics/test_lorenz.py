"""Lorenz: equations, start, reward, bounds, returns of known policies."""

import gymnasium
import numpy as np
import pytest

from envs.dynamics.lorenz import FORCE, SCALE, TARGET, Lorenz, LorenzVectorEnv, lorenz_field
from envs.dynamics.policies import lorenz_gain
from tests.envs.dynamics.rollout import rollout, starts


def test_the_goal_is_a_fixed_point_and_unstable():
    assert pytest.approx((np.sqrt(72), np.sqrt(72), 27)) == TARGET
    assert lorenz_field(TARGET, 0.0) == pytest.approx((0, 0, 0), abs=1e-12)
    x, y, z = TARGET
    jacobian = np.array([[-10, 10, 0], [28 - z, -1, -x], [y, x, -8 / 3]])
    roots = np.linalg.eigvals(jacobian)
    # Characteristic polynomial of C+-: s^3 + (sigma + beta + 1) s^2 + beta (sigma + rho) s
    # + 2 sigma beta (rho - 1)
    np.testing.assert_allclose(
        np.poly(roots), [1, 41 / 3, 8 / 3 * 38, 2 * 10 * 8 / 3 * 27], rtol=1e-10
    )
    assert roots.real.max() == pytest.approx(0.094, abs=1e-3)


def test_the_force_acts_on_the_second_equation():
    free, forced = lorenz_field((1.0, 2.0, 3.0), 0.0), lorenz_field((1.0, 2.0, 3.0), 7.0)
    assert free == (10.0, 1 * 25.0 - 2.0, 2.0 - 8.0)
    assert tuple(b - a for a, b in zip(free, forced, strict=True)) == pytest.approx((0, 7, 0))


def test_a_step_is_five_steps_of_a_hundredth():
    model = Lorenz()
    state = {name: np.array([value]) for name, value in zip("xyz", (3.0, -4.0, 20.0), strict=True)}
    outcome = model.step(state, np.array([[0.5]], np.float32), [])
    s, h = np.array([3.0, -4.0, 20.0]), 0.0005
    for _ in range(100):  # the same interval with steps 20 times as short
        k1 = np.array(lorenz_field(tuple(s), 15.0))
        k2 = np.array(lorenz_field(tuple(s + h / 2 * k1), 15.0))
        k3 = np.array(lorenz_field(tuple(s + h / 2 * k2), 15.0))
        k4 = np.array(lorenz_field(tuple(s + h * k3), 15.0))
        s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    got = np.array([outcome.state[name][0] for name in "xyz"])
    np.testing.assert_allclose(got, s, atol=2e-5)
    distance = ((got - TARGET) ** 2).sum()
    assert outcome.reward[0] == pytest.approx(-distance / 100 - 0.01 * 0.25, rel=1e-12)
    assert not outcome.terminated[0]
    obs = model.observe(outcome.state)[0]
    np.testing.assert_allclose(obs, (got - TARGET) / SCALE, rtol=1e-6)


def test_standing_at_the_goal_costs_nothing():
    state = {name: np.array([goal]) for name, goal in zip("xyz", TARGET, strict=True)}
    assert Lorenz().step(state, np.zeros((1, 1), np.float32), []).reward[0] == pytest.approx(0)


def test_starts_lie_on_the_attractor():
    state = starts(Lorenz(), 400)
    x, y, z = (state[name] for name in "xyz")
    # Long-run means of the attractor: <x> = 0, <z> = 23.55, <x^2> = 62.8. After 20 time units some
    # episodes still circle C-, from which they came.
    assert -4.5 < np.mean(x) < -1.0
    assert (x > 0).mean() > 0.2
    assert np.mean(z) == pytest.approx(23.55, abs=1.5)
    assert np.mean(x * x) == pytest.approx(62.8, abs=12)
    assert len(np.unique(x)) == 400
    assert np.abs(np.corrcoef(x, y)[0, 1]) > 0.7


def test_no_policy_leaves_the_observation_space():
    model = Lorenz()
    rng = np.random.default_rng(0)
    pushes = (
        lambda s: np.sign(s["y"]),
        lambda s: -np.sign(s["x"]),
        lambda s: np.sign(s["z"] - 27),
        lambda s: rng.choice([-1.0, 1.0], 50),
        lambda s: np.ones(50),
    )
    largest = 0.0
    for push in pushes:
        state = starts(model, 50)
        for _ in range(300):
            state = model.step(state, push(state)[:, None].astype(np.float32), []).state
            assert all(model.observation_space.contains(obs) for obs in model.observe(state)[:3])
            largest = max(largest, float(np.abs(model.observe(state)).max()))
    assert 1.0 < largest < 4.0
    # The proof in the module: the ball of radius 64.7 about (0, 0, 38) holds the ellipsoid.
    u = np.linspace(-FORCE, FORCE, 61)[:, None, None]
    a, b = np.linspace(0, np.pi, 61)[None, :, None], np.linspace(0, 2 * np.pi, 61)[None, None, :]
    size = np.sqrt(u**2 / 4 + 361 * 8 / 3)
    x = size / np.sqrt(10) * np.sin(a) * np.cos(b)
    y, z = u / 2 + size * np.sin(a) * np.sin(b), 19 + size / np.sqrt(8 / 3) * np.cos(a)
    assert np.sqrt(x**2 + y**2 + (z - 38) ** 2).max() < 64.7


@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [("zero", -844, 188), ("random", -809, 198), ("lqr", -78, 87)]
)
def test_returns_of_known_policies(name, mean, deviation):
    n, rng, gain = 300, np.random.default_rng(1), lorenz_gain()

    def lqr(state):
        error = np.stack([state[k] - goal for k, goal in zip("xyz", TARGET, strict=True)], 1)
        return np.clip(-error @ gain.T / FORCE, -1, 1)

    policies = {
        "zero": lambda s: np.zeros((n, 1)),
        "random": lambda s: rng.uniform(-1, 1, (n, 1)),
        "lqr": lqr,
    }
    model = Lorenz()
    total, state, _ = rollout(model, starts(model, n), policies[name], 200)
    # 4 standard errors of ours and of the pilot's mean (its number of episodes is taken as 40).
    assert total.mean() == pytest.approx(mean, abs=4 * deviation * np.sqrt(1 / n + 1 / 40))
    assert total.std() == pytest.approx(deviation, rel=0.35)
    if name == "lqr":
        off = [state[k] - goal for k, goal in zip("xyz", TARGET, strict=True)]
        assert np.sqrt(sum(e * e for e in off)).max() < 0.5


def test_registered_with_a_limit_of_200_and_no_termination():
    env = gymnasium.make("envs:dynamics/lorenz-v0")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]


def test_unknown_backend_is_named():
    with pytest.raises(
        ValueError, match=r"dynamics/lorenz-v0: backend must be one of numpy, numba"
    ):
        LorenzVectorEnv(2, backend="fortran")
