"""The Atari preset: two forms with equal frames, and its options."""

import sys

import numpy as np
import pytest

from envs.make import make_envs
from rlcore.errors import ConfigError, MissingDependencyError
from rlcore.runtime.env_stream import StepRow, open_stream


def new_row(stream):
    envs, spec = stream.num_envs, stream.spec
    flags = [np.zeros(envs, kind) for kind in (bool, "f4", bool, bool, bool, "f4", "i4")]
    return StepRow(np.zeros((envs, *spec.obs_shape), spec.obs_dtype), *flags)


@pytest.fixture(autouse=True)
def need_ale():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")


def pair(game, **kwargs):
    kwargs = {"repeat_action_probability": 0.0, **kwargs}
    native = make_envs(game, 1, preset="atari", kwargs=kwargs, vectorization="native")
    (plain,) = make_envs(game, 1, preset="atari", kwargs=kwargs, vectorization="sync")
    return native, plain


# noop_max=1 leaves the drawn number no choice, so that both forms start alike.
@pytest.mark.parametrize(
    ("game", "kwargs"),
    [
        ("ALE/Breakout-v5", {}),
        ("ALE/Breakout-v5", {"terminal_on_life_loss": True}),
        ("ALE/Breakout-v5", {"fire_reset": True}),
        ("ALE/Pong-v5", {"frame_skip": 2, "stack": 3}),
        ("ALE/MsPacman-v5", {"size": 64}),
    ],
)
def test_both_forms_give_the_same_frames(game, kwargs):
    native, plain = pair(game, noop_max=1, **kwargs)
    rng = np.random.default_rng(0)
    obs, _ = native.reset(seed=[7])
    want, _ = plain.reset(seed=7)
    np.testing.assert_array_equal(obs[0], want)
    ends = 0
    for _ in range(450):
        action = int(rng.integers(plain.action_space.n))
        obs, reward, terminated, truncated, _ = native.step(np.array([action]))
        want, gain, ended, cut, _ = plain.step(action)
        np.testing.assert_array_equal(obs[0], want)
        assert (reward[0], terminated[0], truncated[0]) == (gain, ended, cut)
        if ended or cut:
            ends += 1
            obs, reward, terminated, truncated, _ = native.step(np.array([0]))
            want, _ = plain.reset()
            np.testing.assert_array_equal(obs[0], want)
            assert not reward[0]
    assert ends or "Breakout" not in game
    native.close()
    plain.close()


@pytest.mark.parametrize("vectorization", ["native", "sync"])
def test_stream_learns_arrays_and_frames_per_step(vectorization):
    made = make_envs("ALE/Pong-v5", 2, preset="atari", vectorization=vectorization)
    stream = open_stream(made, env_id="ALE/Pong-v5")
    assert stream.spec.obs_shape == (4, 84, 84)
    assert stream.spec.obs_dtype == "uint8"
    assert stream.spec.frames_per_step == 4
    assert stream.spec.actions.n == 6
    row = new_row(stream)
    stream.reset([1, 2], row.obs, row.first)
    first = row.obs.copy()
    stream.reset([1, 2], row.obs, row.first)
    np.testing.assert_array_equal(row.obs, first)
    stream.close()


def test_each_environment_has_its_own_seed():
    native = make_envs("ALE/Breakout-v5", 3, preset="atari", kwargs={"noop_max": 30})
    one, infos = native.reset(seed=[5, 5, 6])
    np.testing.assert_array_equal(one[0], one[1])
    assert infos["frame_number"][0] == infos["frame_number"][1] != infos["frame_number"][2]
    zero = [native.reset(seed=[0, 0, 0])[1]["frame_number"].tolist() for _ in range(3)]
    assert zero[0] == zero[1] == zero[2], "seed 0 is a seed"


def test_native_metadata_is_its_own():
    from gymnasium.vector import VectorEnv

    before = dict(VectorEnv.metadata)
    make_envs("ALE/Pong-v5", 1, preset="atari").close()
    assert before == VectorEnv.metadata


def test_rewards_are_raw_and_sticky_default_is_the_registered_one():
    import gymnasium

    from envs.presets import AtariPreset

    make_envs("ALE/Pong-v5", 1, preset="atari").close()
    assert AtariPreset(gymnasium.spec("ALE/Pong-v5"), {}).sticky == 0.25
    assert AtariPreset(gymnasium.spec("PongNoFrameskip-v4"), {}).sticky == 0.0
    assert AtariPreset(gymnasium.spec("PongNoFrameskip-v4"), {}).game == "pong"
    native, _ = pair("ALE/MsPacman-v5", noop_max=1)
    native.reset(seed=[1])
    rng = np.random.default_rng(0)
    rewards = {int(native.step(rng.integers(0, 9, 1))[1][0]) for _ in range(300)}
    assert 10 in rewards


def test_evaluation_plays_whole_games():
    kwargs = {"terminal_on_life_loss": True, "repeat_action_probability": 0.0}
    for evaluation, lives in ((False, 4), (True, 0)):
        (env,) = make_envs(
            "ALE/Breakout-v5", 1, preset="atari", kwargs=kwargs, vectorization="sync",
            evaluation=evaluation,
        )  # fmt: skip
        env.reset(seed=1)
        rng, over, info = np.random.default_rng(0), False, {}
        while not over:
            _, _, over, _, info = env.step(int(rng.integers(4)))
        assert info["lives"] == lives


def test_truncation_at_the_frame_limit():
    native = make_envs("ALE/Pong-v5", 1, preset="atari", kwargs={"max_frames": 80})
    native.reset(seed=[3])
    flags = [native.step(np.zeros(1, int))[2:4] for _ in range(20)]
    assert [bool(cut[0]) for _, cut in flags] == [False] * 19 + [True]
    assert not any(end[0] for end, _ in flags)


@pytest.mark.parametrize("probability", [0.0, 0.25])
@pytest.mark.parametrize("warm_up", [1, 57, 130])
def test_scalar_emulator_is_restored_exactly(probability, warm_up):
    def make():
        kwargs = {"repeat_action_probability": probability, "noop_max": 5}
        return open_stream(
            make_envs("ALE/Breakout-v5", 1, preset="atari", kwargs=kwargs, vectorization="sync"),
            env_id="ALE/Breakout-v5",
        )

    def play(stream, seed, steps):
        row, rng, out = new_row(stream), np.random.default_rng(seed), []
        for _ in range(steps):
            stream.step(rng.integers(0, 4, 1), row)
            out.append((row.obs.tobytes(), float(row.reward[0]), bool(row.terminated[0])))
        return out

    stream = make()
    row = new_row(stream)
    stream.reset([9], row.obs, row.first)
    play(stream, 0, warm_up)
    state = stream.get_state()
    wanted = play(stream, 1, 260)
    fresh = make()
    fresh.set_state(state)
    assert play(fresh, 1, 260) == wanted
    assert any(end for _, _, end in wanted)


def test_native_emulator_says_that_it_has_no_state():
    from rlcore.runtime.env_state import EnvStateUnavailable

    stream = open_stream(make_envs("ALE/Pong-v5", 1, preset="atari"), env_id="ALE/Pong-v5")
    row = new_row(stream)
    stream.reset([1], row.obs, row.first)
    with pytest.raises(EnvStateUnavailable, match="vectorization: sync"):
        stream.get_state()


def test_unknown_options_are_named():
    with pytest.raises(ConfigError, match="frameskip"):
        make_envs("ALE/Pong-v5", 1, preset="atari", kwargs={"frameskip": 4})
    with pytest.raises(ConfigError, match="noop_max is 0"):
        make_envs("ALE/Pong-v5", 1, preset="atari", kwargs={"noop_max": 0})


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(MissingDependencyError, match=r"rlcore\[atari\]"):
        make_envs("ALE/Pong-v5", 1, preset="atari")
