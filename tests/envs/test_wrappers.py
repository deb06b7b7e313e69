"""The wrappers of our own: what they do, that they are seeded, that their state is exact."""

import math
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.make import make_envs
from envs.testing.traces import difference, go_on, play
from envs.wrappers import ActionRepeat, Cost, Lag, build_wrapper, cost, lag
from rlcore.errors import ConfigError
from rlcore.runtime.env_state import capture, restore


@pytest.fixture
def slept(monkeypatch):
    """Sleep not at all, and remember how long it would have been."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def cartpole():
    return gymnasium.make("CartPole-v1")


ACTIONS = [0, 1, 1, 0] * 15


# -- cost -----------------------------------------------------------------------------------------


def test_cost_sleeps_and_does_not_spin():
    env = cost(cartpole(), 30)
    env.reset(seed=0)
    wall, work = time.perf_counter(), time.process_time()
    for _ in range(5):
        env.step(0)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    assert wall >= 0.15
    assert work < 0.05


def test_cost_changes_no_episode(slept):
    plain = play(cartpole(), ACTIONS, 3)
    found = play(cost(cartpole(), 20, "exp"), ACTIONS, 3)
    costs = [step[4].pop("cost_ms") for step in found if step[1] is not None]
    assert not difference(plain, found)
    assert slept == [ms / 1000 for ms in costs]
    assert len(costs) == len(ACTIONS)


@pytest.mark.parametrize(
    ("law", "options", "spread"),
    [
        ("fixed", {}, 0.0),
        ("exp", {}, 1.0),
        ("lognormal", {}, math.sqrt(math.exp(0.25) - 1)),
        ("lognormal", {"sigma": 1.0}, math.sqrt(math.e - 1)),
    ],
)
def test_laws_have_the_mean_that_was_asked_for(law, options, spread):
    env = cost(cartpole(), 12.0, law, **options)
    env.reset(seed=0)
    drawn = np.array([env.draw() for _ in range(40_000)])
    assert drawn.mean() == pytest.approx(12.0, rel=0.03)
    assert drawn.std() / drawn.mean() == pytest.approx(spread, rel=0.08, abs=1e-12)
    assert (drawn > 0).all()
    if law != "fixed":
        median = 12 * math.log(2) if law == "exp" else 12 * math.exp(-(env.sigma**2) / 2)
        assert np.median(drawn) == pytest.approx(median, rel=0.03)


def test_costs_are_seeded_and_go_on_over_resets(slept):
    play(cost(cartpole(), 5, "exp"), ACTIONS, 3)
    first = list(slept)
    slept.clear()
    play(cost(cartpole(), 5, "exp"), ACTIONS, 3)
    assert slept == first
    slept.clear()
    play(cost(cartpole(), 5, "exp"), ACTIONS, 4)
    assert slept[:5] != first[:5]
    assert len(set(first)) == len(first)


def test_a_reset_costs_where_asked(slept):
    env = cost(cartpole(), 5, on_reset=True)
    _, info = env.reset(seed=0)
    assert slept == [0.005]
    assert info["cost_ms"] == 5.0
    assert "cost_ms" not in cost(cartpole(), 5).reset(seed=0)[1]


def test_no_cost_is_no_sleep(slept):
    for law in ("fixed", "exp", "lognormal"):
        env = cost(cartpole(), 0, law)
        env.reset(seed=0)
        assert env.step(0)[4]["cost_ms"] == 0.0
    assert slept == [0.0] * 3


# -- lag ------------------------------------------------------------------------------------------


class Tape(gymnasium.Env):
    """Remembers what is done to it."""

    observation_space = spaces.Box(-9, 9, (), np.float32)

    def __init__(self, space):
        self.action_space, self.done = space, []

    def reset(self, *, seed=None, options=None):
        self.done = []
        return np.float32(0), {}

    def step(self, action):
        self.done.append(np.array(action).tolist())
        return np.float32(0), 1.0, len(self.done) >= 6, False, {}


@pytest.mark.parametrize(
    ("steps", "done"),
    [(0, [3, 1, 2, 3, 1, 2]), (1, [0, 3, 1, 2, 3, 1]), (4, [0, 0, 0, 0, 3, 1])],
)
def test_actions_take_effect_late(steps, done):
    env = lag(Tape(spaces.Discrete(4)), steps)
    for _ in range(2):  # nothing is left over from the episode before
        env.reset()
        for action in (3, 1, 2, 3, 1, 2):
            env.step(action)
        assert env.unwrapped.done == done


@pytest.mark.parametrize(
    ("space", "first", "want"),
    [
        (spaces.Discrete(3), None, 0),
        (spaces.Discrete(3, start=5), None, 5),
        (spaces.Discrete(3, start=-7), None, -5),
        (spaces.Discrete(3), 2, 2),
        (spaces.Box(-1, 1, (2,), np.float32), None, [0.0, 0.0]),
        (spaces.Box(0.5, 1, (2,), np.float32), None, [0.5, 0.5]),
        (spaces.Box(-1, 1, (2,), np.float32), [0.25, -1], [0.25, -1.0]),
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), None, [1, 0]),
    ],
)
def test_what_is_done_first(space, first, want):
    env = lag(Tape(space), 1, first)
    env.reset()
    env.step(space.sample())
    assert env.unwrapped.done == [want]


def test_a_lagging_action_is_a_copy():
    env = lag(Tape(spaces.Box(-1, 1, (2,), np.float32)), 1)
    env.reset()
    action = np.ones(2, np.float32)
    env.step(action)
    action[:] = 0
    env.step(action)
    assert env.unwrapped.done[1] == [1.0, 1.0]


# -- action repeat --------------------------------------------------------------------------------


def test_rewards_of_repeated_steps_add_up():
    env = ActionRepeat(Tape(spaces.Discrete(4)), 4)
    env.reset()
    assert env.step(2)[1:3] == (4.0, False)
    assert env.step(1)[1:3] == (2.0, True), "the end is not stepped over"
    assert env.unwrapped.done == [2, 2, 2, 2, 1, 1]
    assert env.metadata["frames_per_step"] == 4
    assert "frames_per_step" not in Tape.metadata


# -- by name, and exact state ---------------------------------------------------------------------

BY_NAME = [
    {"type": "cost", "mean_ms": 0.01, "law": "exp"},
    {"type": "cost", "mean_ms": 0.01, "law": "lognormal", "on_reset": True},
    {"type": "lag", "steps": 3},
    {"type": "action_repeat", "times": 2},
]


@pytest.mark.parametrize("entry", BY_NAME, ids=lambda entry: entry["type"])
def test_state_goes_on_exactly(entry):
    def make():
        return make_envs("CartPole-v1", 1, wrappers=[entry])[0]

    env = make()
    last = play(env, ACTIONS[:25], 3)[-1]
    over = last[2] or last[3]
    state = capture(env, "cartpole")
    wanted = go_on(env, ACTIONS[25:], over)
    fresh = make()
    fresh.reset(seed=9)
    restore(fresh, state, "cartpole")
    assert not difference(wanted, go_on(fresh, ACTIONS[25:], over))
    assert fresh.spec.additional_wrappers[-1].kwargs is not None


def test_names_make_the_right_wrapper():
    kinds = [type(build_wrapper(entry)(cartpole())) for entry in BY_NAME]
    assert kinds == [Cost, Cost, Lag, ActionRepeat]
    env = build_wrapper({"type": "cost", "mean_ms": 30})(cartpole())
    assert (env.mean_ms, env.law) == (30.0, "fixed")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "cost", "mean_ms": -1}, "wrapper cost: mean_ms must be >= 0.0, got -1"),
        ({"type": "cost", "mean_ms": 3, "law": "normal"}, "law must be one of fixed, exp"),
        ({"type": "cost"}, "cost does not take {}.*mean_ms"),
        (
            {"type": "lag", "steps": 1.5},
            "wrapper lag: steps must be an integer in .0, 1000000., got 1.5",
        ),
        ({"type": "lag", "steps": 1, "first": 7}, r"first must be one of Discrete\(2\), got 7"),
        ({"type": "action_repeat", "times": 0}, "times must be an integer >= 1, got 0"),
        ({"type": "costs", "mean_ms": 1}, "unknown type 'costs'; one of action_repeat, clip"),
        ({"mean_ms": 1}, "unknown type None"),
    ],
)
def test_mistakes_are_named(entry, words):
    with pytest.raises(ConfigError, match=words):
        make_envs("CartPole-v1", 1, wrappers=[entry])


def test_a_space_without_zero_must_be_told_what_comes_first():
    space = spaces.Text(5)
    with pytest.raises(ValueError, match="has no zero"):
        lag(Tape(space), 1)
    assert lag(Tape(space), 1, "look").first == "look"
