"""The testing environments do what they promise."""

import numpy as np
import pytest
from gymnasium import make
from gymnasium.utils.env_checker import check_env

import envs
from envs.testing.faulty import FAULTS, FaultyEnv
from envs.testing.noop_image import NoopImageEnv, NoopImageVectorEnv


@pytest.mark.filterwarnings("ignore:.*observation space maximum value is infinity")
@pytest.mark.parametrize("name", ["counting", "faulty", "noop-image", "one-step"])
def test_gymnasium_finds_nothing(name):
    assert envs
    check_env(make(f"testing/{name}-v0").unwrapped, skip_render_check=True)


def test_one_step_pays_for_the_shown_action():
    env = make("testing/one-step-v0", actions=3)
    obs, _ = env.reset(seed=0)
    for _ in range(20):
        right = int(np.argmax(obs))
        for action in ((right + 1) % 3, right):
            _, reward, terminated, truncated, _ = env.unwrapped.step(action)
            assert (reward, terminated, truncated) == (float(action == right), True, False)
        obs, _ = env.reset()


def test_marker_counts_strikes_over_restarts(tmp_path):
    outcomes = []
    for _ in range(4):
        env = FaultyEnv("raise", at_step=2, times=2, marker=str(tmp_path / "strike"))
        env.reset(seed=0)
        env.step(0)
        try:
            env.step(0)
        except RuntimeError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("")
    assert outcomes == ["fault on demand in step 2"] * 2 + ["", ""]


def test_only_the_named_seeds_are_faulty():
    for seed, faulty in ((3, True), (4, False)):
        env = FaultyEnv("nan", seeds=[3], times=0)
        env.reset(seed=seed)
        env.reset()
        assert np.isnan(env.step(0)[0]).any() == faulty


def test_probability_draws_apart_from_the_observations():
    traces = []
    for probability in (0.0, 0.3, 0.3):
        env = FaultyEnv("nan_reward", times=0, probability=probability, episode_steps=400)
        observations = [env.reset(seed=5)[0].tobytes()]
        struck = []
        for _ in range(400):
            obs, reward, *_ = env.step(1)
            observations.append(obs.tobytes())
            struck.append(bool(np.isnan(reward)))
        traces.append((observations, struck))
    assert traces[0][0] == traces[1][0], "the task itself must not depend on the fault"
    assert traces[1] == traces[2]
    assert sum(traces[0][1]) == 0
    assert 80 < sum(traces[1][1]) < 160
    with pytest.raises(ValueError, match="probability is 2"):
        FaultyEnv("nan", probability=2.0)


@pytest.mark.parametrize("form", [NoopImageEnv, NoopImageVectorEnv])
def test_impossible_lengths_are_named(form):
    with pytest.raises(ValueError, match=r"min_steps is 9, wanted \[1, 5\]"):
        form(episode_steps=5, min_steps=9)


def test_leak_keeps_memory():
    env = FaultyEnv("leak", times=0, megabytes=1)
    env.reset(seed=0)
    for _ in range(3):
        env.step(0)
    assert sum(map(len, env._leak)) == 3 << 20


def test_unknown_fault_is_named():
    with pytest.raises(ValueError, match="segfault"):
        FaultyEnv("explode")
    assert "hang" in FAULTS
