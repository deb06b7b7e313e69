"""The Kuramoto-Sivashinsky environment: starts, rewards, divergence, arguments."""

import gymnasium
import numpy as np
import pytest

from envs.dynamics.divergence import EnvDiverged, hold_diverged
from envs.dynamics.ks import KuramotoSivashinsky
from envs.dynamics.ks_solvers import SpectralKs
from tests.envs.dynamics.rollout import rollout, starts
from tests.envs.dynamics.test_ks_solvers import DATA


@pytest.mark.parametrize(("reward", "solver"), [("physical", "etdrk4"), ("reference", "fd_rk4")])
def test_reward_is_minus_the_sum_of_its_terms(reward, solver):
    env = gymnasium.make("envs:dynamics/ks-v0", solver=solver, reward=reward)
    env.reset(seed=1)
    action = np.array([0.5, -0.2, 0.1, 0.4], np.float32)
    for _ in range(2):
        obs, value, terminated, _, info = env.step(action)
        assert value == -(info["curvature"] + info["slope"] + info["power"])
        assert info["power"] != 0
        assert not terminated
        assert info["diverged"] == 0
        assert info["energy"] == pytest.approx((obs.astype(float) ** 2).mean() / 2, rel=1e-6)


def test_power_and_wrapping_follow_the_actuators():
    state = {"u": np.ones((1, 64)), "action": None}
    for reward, total in (("physical", 1.0), ("reference", 0.5783)):
        model = KuramotoSivashinsky(solver="fd_rk4", reward=reward, precision="float64")
        action = np.array([[0.5, 0, 0, 0]], np.float32)
        power = model.step(dict(state), action, []).info["power"][0]
        # <u f> at the start is 0.5 * integral of G_1 / L, and u hardly changes in the interval.
        assert power == pytest.approx(0.5 * total / (8 * np.pi), rel=0.05)


def test_starts_differ_and_lie_on_the_chaotic_front():
    model = KuramotoSivashinsky()
    u = starts(model, 100)["u"]
    assert 1.0 < u.std() < 1.7
    assert np.abs(u).max() < 4
    np.testing.assert_allclose(u.mean(-1), 0, atol=1e-12)
    assert np.abs(np.corrcoef(u) - np.eye(100)).max() < 0.999
    again = starts(model, 100)["u"]
    np.testing.assert_array_equal(u, again)
    # Every place along the period is alike.
    assert (u**2).mean(0).max() / (u**2).mean(0).min() < 2.0


def test_a_start_is_eight_random_waves_followed_for_60_time_units():
    rngs = [[np.random.default_rng(k) for k in range(2)] for _ in range(2)]
    u = np.zeros((2, 64))
    for row, rng in enumerate(rngs[0]):
        cosines, sines = rng.standard_normal((2, 4))
        for m in range(1, 5):
            phase = 2 * np.pi * m * np.arange(64) / 64
            u[row] += cosines[m - 1] * np.cos(phase) + sines[m - 1] * np.sin(phase)
    expected = SpectralKs("physical", 1).settled(u, 240)
    got = KuramotoSivashinsky().start(rngs[1], {})["u"]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    # Following them is advancing them without force.
    solver = SpectralKs("physical", 2)
    once = solver.advance(solver.advance(u, 0 * u)[0], 0 * u)[0]
    np.testing.assert_allclose(solver.settled(u, 2), once, atol=1e-12)


def test_start_file_is_drawn_from():
    published = np.load(DATA, allow_pickle=False)
    env = gymnasium.make("envs:dynamics/ks-v0", start_file=str(DATA))
    drawn = set()
    for seed in range(30):
        obs, _ = env.reset(seed=seed)
        (row,) = np.flatnonzero((published == obs).all(1))
        drawn.add(int(row))
    assert len(drawn) > 20


@pytest.mark.parametrize("array", [np.zeros((3, 63)), np.zeros(64), np.full((2, 64), np.nan)])
def test_bad_start_files_are_named(tmp_path, array):
    path = tmp_path / "starts.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=r"dynamics/ks-v0: start_file .* wanted finite"):
        KuramotoSivashinsky(start_file=str(path))
    with pytest.raises(ValueError, match="is not a file"):
        KuramotoSivashinsky(start_file=str(tmp_path / "none.npy"))
    path.write_text("u = 0")
    with pytest.raises(ValueError, match=r"dynamics/ks-v0: start_file .* is no array"):
        KuramotoSivashinsky(start_file=str(path))
    np.savez(tmp_path / "two.npz", a=array, b=array)
    with pytest.raises(ValueError, match=r"dynamics/ks-v0: start_file .* holds several arrays"):
        KuramotoSivashinsky(start_file=str(tmp_path / "two.npz"))


@pytest.mark.parametrize("field", [np.zeros(63), np.full(64, np.nan), np.full(64, 41.0)])
def test_bad_start_fields_are_named(field):
    env = gymnasium.make("envs:dynamics/ks-v0")
    with pytest.raises(ValueError, match=r"dynamics/ks-v0: options\['u'\] must be a field"):
        env.reset(seed=0, options={"u": field})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"solver": "euler"}, "solver must be one of etdrk4, fd_rk4, got 'euler'"),
        ({"reward": "none"}, "reward must be one of physical, reference"),
        ({"substeps": 0}, "substeps must be an integer in"),
        ({"backend": "numba"}, "backend numba is for solver fd_rk4, got solver etdrk4"),
        ({"precision": "float32"}, "precision float32 is for solver fd_rk4, got etdrk4"),
        ({"divergence_penalty": float("nan")}, "divergence_penalty must be a number"),
        ({"solvers": "etdrk4"}, "unknown argument solvers; did you mean solver?"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=f"dynamics/ks-v0: {message}"):
        gymnasium.make("envs:dynamics/ks-v0", **kwargs)


def test_full_force_all_episode_long_stays_in_bounds():
    model = KuramotoSivashinsky()
    for push in (0.5, -0.5):
        _, state, infos = rollout(
            model, starts(model, 4), lambda s, p=push: np.full((4, 4), p), 400
        )
        assert np.abs(state["u"]).max() < 15
        # 400 intervals of 0.25 with a force of mean 4 * 0.5 / (8 pi)
        np.testing.assert_allclose(state["u"].mean(-1), push * 100 * 4 / (8 * np.pi), rtol=1e-6)
        assert not any(info["diverged"].any() for info in infos)


@pytest.mark.parametrize("solver", ["etdrk4", "fd_rk4"])
def test_divergence_raises_or_ends_the_episode(solver):
    u = np.stack([np.full(64, 39.995), np.zeros(64)])  # the full force lifts the mean by 0.02
    actions = np.array([[0.5] * 4, [0.0] * 4], np.float32)
    state = {"u": u.copy(), "action": None}
    with pytest.raises(EnvDiverged, match=r"dynamics/ks-v0: the field of row 0 reached 4\d\."):
        KuramotoSivashinsky(solver=solver).step(state, actions, [])
    model = KuramotoSivashinsky(solver=solver, divergence_penalty=-50.0)
    outcome = model.step(state, actions, [])
    assert outcome.terminated.tolist() == [True, False]
    assert outcome.reward.tolist() == [-50.0, 0.0]
    assert outcome.info["diverged"].tolist() == [1, 0]
    np.testing.assert_array_equal(outcome.state["u"], u)
    assert model.observation_space.contains(model.observe(outcome.state)[0])


def test_what_is_not_a_number_has_diverged():
    old = np.zeros((3, 4))
    new = np.array([[1.0, 2, 3, 4], [0, np.nan, 0, 0], [0, 0, np.inf, 0]])
    diverged, held = hold_diverged("x", old, new, 5.0, -1.0)
    assert diverged.tolist() == [False, True, True]
    np.testing.assert_array_equal(held, [[1, 2, 3, 4], [0] * 4, [0] * 4])
    with pytest.raises(EnvDiverged, match="row 1 reached nan"):
        hold_diverged("x", old, new, 5.0, None)


def test_zero_state_without_action_stays():
    model = KuramotoSivashinsky()
    outcome = model.step({"u": np.zeros((1, 64)), "action": None}, np.zeros((1, 4), np.float32), [])
    assert outcome.reward[0] == 0
    assert not outcome.state["u"].any()


@pytest.mark.slow
def test_opposition_takes_energy_and_random_does_not():
    # Reference form on the published starts; the rate is that of the last 50 of 400 steps.
    model = KuramotoSivashinsky("fd_rk4", "reference", backend=_fast(), start_file=str(DATA))
    n, rng = 4, np.random.default_rng(0)
    shapes = model.actuator_shapes
    policies = {
        "zero": lambda s: np.zeros((n, 4)),
        "random": lambda s: rng.uniform(-0.5, 0.5, (n, 4)),
        "opposition": lambda s: np.clip(-2 * s["u"] @ shapes.T * 8 * np.pi / 64, -0.5, 0.5),
    }
    totals = {
        name: rollout(model, starts(model, n, seed=3), policy, 400)[0].mean()
        for name, policy in policies.items()
    }
    assert totals["zero"] == pytest.approx(-240, abs=5)
    assert totals["random"] < -250
    assert totals["opposition"] > -235


def _fast():
    pytest.importorskip("numba")
    return "numba"
