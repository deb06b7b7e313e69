"""Which form of an environment is made, and what is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from envs.make import make_envs
from rlcore.errors import ConfigError


def test_native_form_is_taken_where_it_exists():
    made = make_envs("CartPole-v1", 3)
    assert isinstance(made, VectorEnv)
    assert made.num_envs == 3
    assert made.max_episode_steps == 500


def test_auto_falls_back_to_plain_environments():
    made = make_envs("Pendulum-v1", 2)
    assert isinstance(made, list)
    assert len(made) == 2


@pytest.mark.parametrize(
    "why",
    [
        {"vectorization": "sync"},
        {"wrappers": [{"type": "time_limit", "max_episode_steps": 7}]},
        {"render_mode": "rgb_array"},
    ],
)
def test_plain_environments_where_the_native_form_cannot_serve(why):
    assert isinstance(make_envs("CartPole-v1", 1, **why), list)


def test_plain_environments_have_no_checker_around_them():
    (env,) = make_envs("CartPole-v1", 1, vectorization="sync")
    names = []
    while hasattr(env, "env"):
        names.append(type(env).__name__)
        env = env.env
    assert "PassiveEnvChecker" not in names
    assert "TimeLimit" in names


def test_wrappers_are_applied_innermost_first():
    (env,) = make_envs(
        "CartPole-v1",
        1,
        wrappers=[{"type": "time_limit", "max_episode_steps": 3}, {"type": "time_aware"}],
    )
    obs, _ = env.reset(seed=0)
    assert obs.shape == (5,)
    flags = [env.step(0)[3] for _ in range(3)]
    assert flags == [False, False, True]


def test_kwargs_reach_both_forms():
    for vectorization in ("native", "sync"):
        made = make_envs(
            "CartPole-v1", 1, kwargs={"sutton_barto_reward": True}, vectorization=vectorization
        )
        env = made if vectorization == "native" else made[0]
        env.reset(seed=0)
        reward = env.step(np.array([1]) if vectorization == "native" else 1)[1]
        assert float(np.squeeze(reward)) == 0.0


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"id": "CartPool-v1"}, "CartP"),
        ({"id": "CartPole-v1", "vectorization": "async"}, "vectorization"),
        ({"id": "Pendulum-v1", "vectorization": "native"}, "no vector form"),
        ({"id": "CartPole-v1", "num_envs": 0}, "num_envs"),
        ({"id": "CartPole-v1", "preset": "atary"}, "preset"),
        ({"id": "CartPole-v1", "module": "os; x"}, "dotted"),
        ({"id": "CartPole-v1", "module": "no_such_module_at_all"}, "PYTHONPATH"),
        ({"id": "CartPole-v1", "wrappers": [{"type": "framestack"}]}, "frame_stack"),
        ({"id": "CartPole-v1", "kwargs": {"gravitas": 1}, "vectorization": "sync"}, "gravitas"),
        (
            {
                "id": "CartPole-v1",
                "vectorization": "native",
                "wrappers": [{"type": "flatten_observation"}],
            },
            "env.wrappers",
        ),
        ({"id": "CartPole-v1", "wrappers": [{"type": "time_limit", "max": 3}]}, "time_limit"),
    ],
)
def test_mistakes_are_named(kwargs, words):
    arguments = {"num_envs": 1, **kwargs}
    with pytest.raises(ConfigError, match=words):
        make_envs(arguments.pop("id"), arguments.pop("num_envs"), **arguments)


def test_a_module_that_fails_to_import_says_where(tmp_path, monkeypatch):
    (tmp_path / "half_done_envs.py").write_text("x = 1\nimport no_such_dependency_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as error:
        make_envs("CartPole-v1", 1, module="half_done_envs")
    for words in ("half_done_envs.py, line 2", "no_such_dependency_at_all", "was found"):
        assert words in str(error.value)
    assert "PYTHONPATH" not in str(error.value)


def test_an_environment_needs_no_render_mode():
    class Bare(gymnasium.Env):
        observation_space = action_space = gymnasium.spaces.Discrete(2)

    gymnasium.register("test-bare-v0", entry_point=Bare)
    try:
        (env,) = make_envs("test-bare-v0", 1)
        assert isinstance(env.unwrapped, Bare)
        with pytest.raises(ConfigError, match="speed"):
            make_envs("test-bare-v0", 1, kwargs={"speed": 3})
    finally:
        del gymnasium.registry["test-bare-v0"]
