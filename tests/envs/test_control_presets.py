"""The presets ``classic`` and ``mujoco``: what they make, and the returns of the table."""

import sys
from importlib.util import find_spec as find

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from envs.make import make_envs
from envs.preset_references import PRESET_REFERENCES, table
from envs.references import measured
from experiments.validate import load_config
from rlcore.errors import ConfigError, MissingDependencyError
from rlcore.runtime.env_stream import open_stream


def plain(id, preset, **kwargs):
    return make_envs(id, 1, preset=preset, kwargs=kwargs, vectorization="sync")[0]


def rows():
    needs = {"atari": "ale_py", "mujoco": "mujoco"}
    for one in PRESET_REFERENCES:
        for kind in ("random", "scripted"):
            reference = getattr(one, kind)
            if reference is not None:
                marks = [pytest.mark.slow] if reference.slow else []
                yield pytest.param(one, reference, needs.get(one.preset), marks=marks,
                                   id=f"{one.id}-{kind}")  # fmt: skip


@pytest.mark.parametrize(("one", "reference", "package"), [*rows()])
def test_returns_of_the_table(one, reference, package):
    if package is not None:
        pytest.importorskip(package)
    found = measured(one.id, reference, preset=one.preset)
    assert found == pytest.approx(reference.mean, abs=reference.tolerance)


def test_the_documentation_shows_the_table(repo_root):
    page = (repo_root / "docs/environments/presets.md").read_text()
    for line in table():
        assert line in page.splitlines(), line


def test_pendulum_is_the_plain_one_with_rescaled_torque():
    env, raw = plain("Pendulum-v1", "classic"), gymnasium.make("Pendulum-v1")
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    np.testing.assert_array_equal(env.reset(seed=3)[0], raw.reset(seed=3)[0])
    rng = np.random.default_rng(0)
    for _ in range(250):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        found, want = env.step(action), raw.step(2 * action)
        np.testing.assert_allclose(found[0], want[0], rtol=1e-6)
        assert found[1] == pytest.approx(want[1], rel=1e-6)
        assert found[2:4] == want[2:4]
        if found[3]:
            env.reset(seed=4), raw.reset(seed=4)
    assert plain("Pendulum-v1", "classic", rescale_actions=False).action_space.high == 2


def test_mujoco_observations_are_float32_and_the_same_numbers():
    pytest.importorskip("mujoco")
    env, raw = plain("Hopper-v5", "mujoco"), gymnasium.make("Hopper-v5")
    assert env.observation_space.dtype == np.float32
    obs, want = env.reset(seed=1)[0], raw.reset(seed=1)[0]
    for _ in range(20):
        assert obs.dtype == np.float32
        np.testing.assert_array_equal(obs, want.astype(np.float32))
        obs, want = env.step(np.zeros(3, np.float32))[0], raw.step(np.zeros(3))[0]
    ctrl = plain("Hopper-v5", "mujoco", ctrl_cost_weight=0.0, terminate_when_unhealthy=False)
    ctrl.reset(seed=1)
    assert ctrl.unwrapped._ctrl_cost_weight == 0.0


def test_action_repeat_adds_rewards_and_tells_frames():
    env, raw = plain("Pendulum-v1", "classic", action_repeat=3), plain("Pendulum-v1", "classic")
    env.reset(seed=0), raw.reset(seed=0)
    action = np.array([0.3], np.float32)
    total = env.step(action)[1]
    assert total == pytest.approx(sum(raw.step(action)[1] for _ in range(3)))
    stream = open_stream([env], env_id="Pendulum-v1")
    assert stream.spec.frames_per_step == 3
    short = plain("Pendulum-v1", "classic", max_episode_steps=4)
    short.reset(seed=0)
    assert [short.step(action)[3] for _ in range(4)] == [False, False, False, True]


def test_cartpole_takes_the_native_form_and_others_do_not():
    native = make_envs("CartPole-v1", 3, preset="classic", kwargs={"max_episode_steps": 9})
    assert isinstance(native, VectorEnv)
    assert native.num_envs == 3
    native.reset(seed=0)
    assert isinstance(make_envs("Acrobot-v1", 2, preset="classic"), list)
    assert isinstance(make_envs("CartPole-v1", 2, preset="classic", kwargs={"action_repeat": 2}),
                      list)  # fmt: skip
    with pytest.raises(ConfigError, match="no vector form in preset classic"):
        make_envs("Acrobot-v1", 2, preset="classic", vectorization="native")


@pytest.mark.parametrize(
    ("id", "preset", "kwargs", "words"),
    [
        ("Hopper-v5", "classic", {}, "classic is for the environments of gymnasium.envs.classic"),
        ("CartPole-v1", "mujoco", {}, "CartPole-v1 is none of them"),
        (
            "Pendulum-v1",
            "classic",
            {"action_repeat": 0},
            "action_repeat is 0, wanted a whole number, at least 1",
        ),
        ("Pendulum-v1", "classic", {"action_repeat": 1.5}, "action_repeat is 1.5"),
        ("Pendulum-v1", "classic", {"max_episode_steps": -1}, "max_episode_steps is -1"),
        ("Pendulum-v1", "classic", {"rescale_actions": 1}, "rescale_actions is 1"),
        ("Pendulum-v1", "classic", {"gravity": 9.0}, "env.kwargs of Pendulum-v1.*gravity"),
        ("dynamics/lorenz-v0", None, {"lenght": 3}, "env.kwargs: dynamics/lorenz-v0: .*lenght"),
    ],
)
def test_mistakes_are_named(id, preset, kwargs, words):
    if find("mujoco") is None and "mujoco" in (preset, id):
        pytest.skip("needs mujoco")
    with pytest.raises(ConfigError, match=words):
        make_envs(id, 1, preset=preset, kwargs=kwargs, vectorization="sync")


def test_a_missing_simulator_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"rlcore\[mujoco\]"):
        make_envs("Hopper-v5", 1, preset="mujoco")
    assert "mujoco" not in sys.modules or find is not None


@pytest.mark.parametrize(("id", "preset"), [("Pendulum-v1", "classic"), ("CartPole-v1", "classic")])
def test_one_word_in_an_experiment_file(id, preset):
    config = load_config({"env": {"id": id, "preset": preset}, "agent": "impala",
                          "stop": {"updates": 5}}).config  # fmt: skip
    assert config.env.preset == preset
