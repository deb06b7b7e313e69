"""The environment on the lattice: spaces, options, rewards, limits, saved states."""

import pickle

import gymnasium
import numpy as np
import pytest

import envs
from envs.finray import lbm
from envs.finray.lbm import FinRayLBM, FinRayLBMEnv, FinRayLBMVectorEnv
from envs.finray.task import MEASURES

TINY = {"preset": "tiny", "passive_time": 0.2, "pre_actuation": 2}


def rngs(n):
    return [np.random.default_rng(k) for k in range(n)]


def model(**options):
    return FinRayLBM(**TINY | options)


def test_default_setting_is_the_papers():
    m = FinRayLBM()
    assert (m.fluid.nx, m.fluid.ny, m.steps) == (192, 128, 128)
    assert m.chain.base == (64.0, 64.37)
    assert m.fluid.viscosity == pytest.approx(0.0125 * 32 / 500)
    assert m.chain.joint[1] == pytest.approx(10 * 0.0125**2 * 32**3 / 2)
    assert m.chain.inertia[-1, -1] == pytest.approx(0.5 * 32 * (0.5**2 + 1.5**2))
    assert m.observation_space.shape == (33,)
    assert m.action_space.shape == (1,)
    assert 0.3 * (m.chain.turn[0] / np.array([1.0] + [2.0] * 15) * 32).mean() == pytest.approx(0.3)
    env = gymnasium.make("finray/lbm-v0")
    assert env.spec.max_episode_steps == 200


def test_presets_and_arguments_that_win_over_them():
    m = FinRayLBM("tiny")
    assert (m.fluid.nx, m.fluid.ny, m.steps) == (64, 48, 32)
    m = FinRayLBM("medium", backend="numba", device="cpu", cells_per_length=48)
    assert (m.fluid.nx, m.engine.dtype) == (288, np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells_per_length": 4}, r"finray/lbm-v0: cells_per_length must be .*>= |in \[12"),
        ({"preset": "huge"}, "preset must be one of tiny, small, medium"),
        ({"re": 0.0}, "re must be"),
        ({"u_lattice": 0.4}, "u_lattice must be"),
        ({"n_actions": 4}, "n_actions must be"),
        ({"n_links": 4}, "n_links must be"),
        ({"objective": "speed"}, "objective must be one of thrust"),
        ({"rate_limit": -1.0}, "rate_limit must be"),
        ({"backend": "cuda"}, "backend must be one of numba"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"walls": "no_slip"}, "walls must be"),
        ({"domain": [3.0]}, "domain must be"),
        ({"domain": [3.0, 1.0]}, r"domain\[1\] must be"),
        ({"probes": [[9.0, 0.0]]}, "probes must lie in the domain"),
        ({"probes": [[float("nan"), 0.0]]}, "probes must be pairs of numbers"),
        ({"history": 0}, "history must be"),
        ({"threads": 0}, "threads must be"),
        ({"backend": "torch", "device": "cuda"}, "no CUDA device|device"),
        ({"stiffnes": 1.0}, "unknown argument stiffnes; did you mean stiffness"),
    ],
)
def test_bad_arguments_are_named(options, message):
    if options.get("device") == "cuda":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=message):
        FinRayLBMEnv(**TINY | options)


def test_observation_is_what_it_says():
    m = model(n_actions=2)
    state = m.start(rngs(2), {})
    actions = np.array([[0.5, -1.0], [1.0, 0.25]], np.float32)
    outcome = m.step(state, actions, rngs(2))
    state, obs = outcome.state, m.observe(outcome.state)
    assert obs.dtype == np.float32
    assert obs.shape == (2, 8 + 8 + 4 + 3 + 12)
    np.testing.assert_allclose(obs[:, :8], np.sin(state["theta"][:, 1::2]), atol=1e-7)
    np.testing.assert_allclose(obs[:, 8:16], state["omega"][:, 1::2] * 16 / 0.025, rtol=1e-6)
    np.testing.assert_allclose(obs[:, 16:18], actions)  # the actuation has arrived at the action
    np.testing.assert_allclose(obs[:, 18:20], actions)
    names = ("thrust_coefficient", "lift_coefficient", "base_moment_coefficient")
    np.testing.assert_allclose(
        obs[:, 20:23], np.stack([outcome.info[k] for k in names], 1), rtol=1e-6
    )
    f = state["f"][:, :, 24, round(64 / 3 + 16 * 1.25)]
    u = (f[:, [1, 5, 8]].sum(1) - f[:, [3, 6, 7]].sum(1)) / f.sum(1) / 0.025
    np.testing.assert_allclose(obs[:, 25], u, rtol=1e-6)  # the probe behind the tip
    np.testing.assert_allclose(state["a"], 0.3 * actions)


def test_history_shifts():
    m = model(history=3)
    state = m.start(rngs(1), {})
    first = m.observe(state).reshape(3, -1)
    np.testing.assert_array_equal(first[0], first[2])
    for k in range(2):
        state = m.step(state, np.array([[0.3 * k]], np.float32), rngs(1)).state
    later = m.observe(state).reshape(3, -1)
    np.testing.assert_array_equal(later[2], first[0])
    assert later[:, 17].tolist() == pytest.approx([0.3, 0.0, first[0, 17]])


def test_rate_limit_holds_the_actuation_back():
    m = model(rate_limit=2.0, pre_actuation=0)
    state = m.start(rngs(1), {})
    for wanted in (0.1, 0.2, 0.3, 0.3):
        state = m.step(state, np.ones((1, 1), np.float32), rngs(1)).state
        assert state["a"][0, 0] == pytest.approx(wanted)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_rewards(backend):
    info, rewards = None, {}
    for objective in ("thrust", "efficiency", "tracking"):
        m = model(objective=objective, power_weight=0.2, thrust_target=2.0, backend=backend,
                  passive_time=0.0, pre_actuation=0)  # fmt: skip
        state = m.start(rngs(1), {})
        outcome = m.step(state, np.ones((1, 1), np.float32), rngs(1))
        rewards[objective], info = float(outcome.reward[0]), outcome.info
    thrust, power = float(info["thrust_coefficient"][0]), float(info["power_coefficient"][0])
    assert abs(power) > 0.1
    assert rewards["thrust"] == pytest.approx(thrust)
    assert rewards["efficiency"] == pytest.approx(thrust - 0.2 * power)
    assert rewards["tracking"] == pytest.approx(-((thrust - 2.0) ** 2))


def test_passive_ray_is_dragged_and_takes_no_power():
    m = model(pre_actuation=0, passive_time=1.0)
    state = m.start(rngs(1), {})
    outcome = m.step(state, np.zeros((1, 1), np.float32), rngs(1))
    assert -0.6 < outcome.info["thrust_coefficient"][0] < -0.2  # both sides, half of 4 L x 3 L
    assert outcome.info["power_coefficient"][0] == 0.0
    assert outcome.info["tip_excursion"][0] < 0.01
    assert outcome.info["lattice_steps"][0] == m.steps
    assert outcome.info["time"][0] == pytest.approx(0.05)


def test_divergence_ends_the_episode_and_costs_what_was_agreed():
    env = FinRayLBMEnv(**TINY, amplitude=2.0, u_lattice=0.1, divergence_penalty=7.0)
    free = FinRayLBMEnv(**TINY, amplitude=2.0, u_lattice=0.1)
    env.reset(seed=0)
    free.reset(seed=0)
    for k in range(20):
        action = np.array([(-1.0) ** k], np.float32)
        obs, reward, terminated, truncated, info = env.step(action)
        other = free.step(action)[1]
        if terminated:
            break
        assert reward == other
    assert terminated
    assert info["diverged"]
    assert info["mach_exceeded"]
    assert info["max_speed"] > 0.4
    assert info["lattice_steps"] < env.model.steps
    assert not truncated
    assert reward == pytest.approx(other - 7.0)
    assert env.observation_space.contains(obs)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(action)
    assert env.observation_space.contains(env.reset()[0])


def test_scalar_equals_vector_bit_for_bit_and_goes_on_after_pickling():
    vector = FinRayLBMVectorEnv(3, **TINY)
    scalars = [FinRayLBMEnv(**TINY) for _ in range(3)]
    obs, _ = vector.reset(seed=[4, 5, 6])
    for k, env in enumerate(scalars):
        np.testing.assert_array_equal(env.reset(seed=4 + k)[0], obs[k])
    assert np.abs(obs[0] - obs[1]).max() > 1e-3, "seeds matter"
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 1)).astype(np.float32)
    for step, action in enumerate(actions):
        if step == 2:
            vector = pickle.loads(pickle.dumps(vector))
            scalars = [pickle.loads(pickle.dumps(env)) for env in scalars]
        obs, reward, *_ = vector.step(action)
        for k, env in enumerate(scalars):
            one, single, *_ = env.step(action[k])
            np.testing.assert_array_equal(one, obs[k])
            assert single == reward[k]


def test_passive_flow_is_computed_once(monkeypatch):
    monkeypatch.setattr(lbm, "_PASSIVE", {})
    m = model(pre_actuation=0)
    a = m.start(rngs(1), {})
    calls = []
    monkeypatch.setattr(m.engine, "uniform", lambda n: calls.append(n))
    b = m.start(rngs(2), {})
    np.testing.assert_array_equal(b["f"][1], a["f"][0])
    assert not calls
    b["f"][:] = 0.0  # a row is its own: the kept flow is not written to
    np.testing.assert_array_equal(m.start(rngs(1), {})["f"], a["f"])


def test_torch_populations_travel_like_any_state():
    pytest.importorskip("torch")
    options = TINY | {"backend": "torch", "pre_actuation": 0, "passive_time": 0.0}
    options |= {"control_interval": 0.02}
    env = FinRayLBMVectorEnv(3, **options, max_episode_steps=2)
    twin = FinRayLBMVectorEnv(3, **options | {"backend": "reference"}, max_episode_steps=2)
    env.reset(seed=1)
    twin.reset(seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 1)).astype(np.float32)
    for step, action in enumerate(actions):
        if step == 1:
            env = pickle.loads(pickle.dumps(env))
        obs, reward, *_ = env.step(action)
        expected, other, *_ = twin.step(action)
        np.testing.assert_allclose(obs, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(reward, other, rtol=1e-7, atol=1e-9)


def test_picture_shows_vorticity_and_ray():
    env = FinRayLBMEnv(**TINY, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.ones(1, np.float32))
    picture = env.render()
    assert picture.shape == (540, 720, 3)
    assert picture.dtype == np.uint8
    vorticity = env.model.vorticity(env._state)
    assert vorticity.shape == (48, 64)
    assert vorticity.max() > 5
    assert vorticity.min() < -5
    # The base is dark, the undisturbed stream light.
    assert picture[540 // 2, 720 // 3].max() < 90
    assert picture[500, 20].min() > 200
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    assert ((red - blue) > 60).any()
    assert ((blue - red) > 60).any()


def test_info_has_every_measure():
    env = FinRayLBMEnv(**TINY)
    _, first = env.reset(seed=0)
    *_, later = env.step(np.array([2.0], np.float32))
    assert set(first) | {"action_clipped"} == set(later)
    assert set(MEASURES) < set(later)
    assert later["action_clipped"] == 1
    assert "finray/lbm-v0" in envs.list(cost="100ms")
