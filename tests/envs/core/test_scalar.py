"""The plain form of a model: steps, ends, copies, saved states, actions."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.core import InvalidActionError, ResetNeeded
from envs.testing.traces import go_on, play, same


def test_numbers_of_a_short_episode(toys):
    env = toys.CalmEnv(starts=0.0)
    obs, info = env.reset(seed=0)
    assert (obs.tolist(), info) == ([0.0, 0.0], {"begin": 0.0, "place": 0.0})
    assert obs.dtype == np.float32
    obs, reward, terminated, truncated, info = env.step([0.5, 0.25])
    assert (obs.tolist(), reward, terminated, truncated) == ([0.75, 1.0], 0.75, False, False)
    assert type(reward) is float
    assert info.pop("pair").tolist() == [0.75, -0.75]
    assert info == {"place": 0.75, "action_clipped": 0}
    assert {type(info["place"]), type(info["action_clipped"])} == {float, int}
    for _ in range(2):
        _, reward, terminated, _, info = env.step([3.0, 1.0])
    assert (reward, terminated, info["action_clipped"]) == (4.75, False, 1)
    assert env.step([1.0, 0.0])[2]


def test_a_step_out_of_turn(toys):
    env = toys.CalmEnv(length=1)
    with pytest.raises(ResetNeeded, match="test/walk-v0: step before the first reset"):
        env.step([0.0, 0.0])
    with pytest.raises(ResetNeeded, match="get_state before"):
        env.get_state()
    env.reset(seed=0)
    assert env.step([0.0, 0.0])[2]
    with pytest.raises(ResetNeeded, match="after the end of the episode"):
        env.step([0.0, 0.0])
    env.reset()
    assert env.step([0.0, 0.0])[2]
    env.close()
    env.close()


def test_seeds(toys):
    env = toys.Env()
    first = env.reset(seed=4)[0]
    assert not same(env.reset()[0], first), "the generator goes on"
    assert same(env.reset(seed=4)[0], first)
    assert same(toys.Env().reset(seed=4)[0], first)
    want = np.random.Generator(np.random.PCG64(np.random.SeedSequence(4))).uniform(0, 1.0)
    assert first[0] == np.float32(want)
    assert not same(env.reset(seed=5)[0], first)


def test_nothing_handed_out_is_shared(toys):
    env = toys.Env(length=30)
    env.reset(seed=0)
    kept = [env.step([0.01, 0.0]) for _ in range(8)]
    frozen = copy.deepcopy(kept)
    for obs, *_, info in kept[:4]:
        obs[:] = -7
        info["pair"][:] = -7
    env.step([0.01, 0.0])
    assert same(kept[4:], frozen[4:])
    other = toys.Env(length=30)
    other.reset(seed=0)
    assert same([other.step([0.01, 0.0]) for _ in range(8)], frozen)


@given(seed=st.integers(0, 2**63), before=st.integers(0, 12), length=st.integers(1, 6))
def test_state_and_pickle_go_on_exactly(toys, seed, before, length):
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (before + 10, 2))
    env = toys.Env(length=length)
    steps = play(env, actions[:before], seed)
    over = bool(steps[-1][2])
    state, pickled = env.get_state(), pickle.dumps(env)
    wanted = go_on(env, actions[before:], over)
    fresh = toys.Env(length=length)
    fresh.set_state(state)
    assert same(go_on(fresh, actions[before:], over), wanted)
    assert same(go_on(pickle.loads(pickled), actions[before:], over), wanted)
    env.set_state(state)
    assert same(go_on(env, actions[before:], over), wanted)


def test_pickle_before_the_first_reset_keeps_a_given_generator(toys):
    env = toys.Env()
    env.np_random = np.random.default_rng(8)
    env.spec = "the registration"
    again = pickle.loads(pickle.dumps(env))
    assert again.spec == "the registration"
    assert same(again.reset()[0], env.reset()[0])


def test_render_modes(toys):
    env = toys.Env(render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match="render before"):
        env.render()
    env.reset(seed=0)
    env.step([0.0, 0.0])
    assert env.render().tolist() == [[[1] * 3] * 3] * 2
    assert env.metadata["render_fps"] == 7
    assert toys.Env().render() is None
    with pytest.raises(ValueError, match=r"test/walk-v0: render_mode must be one of rgb_array"):
        toys.Env(render_mode="human")


def test_unknown_arguments_name_the_near_one(toys):
    with pytest.raises(ValueError, match=r"test/walk-v0: unknown argument lenght; .*mean length\?"):
        toys.Env(lenght=3)
    with pytest.raises(ValueError, match="unknown argument zzz; known: noise, length, starts"):
        toys.Env(zzz=3)


BAD_NUMBERS = [
    ([0.0, np.nan], "not a number"),
    ([0.0], "shape"),
    ([[0.0, 0.0]], "shape"),
    (0.0, "shape"),
    (["0", "1"], "wanted numbers"),
    ([True, False], "wanted numbers"),
    ([1j, 0], "wanted numbers"),
    ([None, None], "wanted numbers"),
    ([[0.0], [0.0, 1.0]], "no array"),
    (None, "shape"),
]


@pytest.mark.parametrize(("action", "words"), BAD_NUMBERS)
def test_bad_continuous_actions(toys, action, words):
    env = toys.Env()
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(InvalidActionError, match=words):
        env.step(action)
    assert same(env.get_state(), before), "the episode goes on as if nothing had happened"


@pytest.mark.parametrize(
    ("action", "clipped", "place"),
    [
        ([1.0, -1.0], 0, 0.0),
        ([1.5, 0.0], 1, 1.0),
        ([-3, 7], 2, 0.0),
        ([np.inf, 0.5], 1, 1.5),
        ([1e300, -1e300], 2, 0.0),
    ],
)
def test_continuous_actions_are_clipped_and_counted(toys, action, clipped, place):
    env = toys.CalmEnv(starts=0.0)
    env.reset(seed=0)
    _, reward, *_, info = env.step(action)
    assert (info["action_clipped"], reward) == (clipped, place)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("discrete", [-1, 0, 1, np.int8(1), np.array(0)], [-2, 2, 0.0, "0", None, [0], 2**70]),
        ("multi", [[1, 2], (0, 0)], [[2, 0], [0, 3], [-1, 0], [0.0, 1.0], [0], 1]),
        ("number", [0.5, 2, np.float32(1.25)], [np.nan, "1", [1.0], None]),
    ],
)
def test_actions_of_other_spaces(toys, kind, good, bad):
    env, vector = toys.ChoiceEnv(kind=kind), toys.ChoiceVector(2, kind=kind)
    env.reset(seed=0)
    vector.reset(seed=0)
    for action in good:
        assert env.step(action)[1] == float(np.sum(action))
        assert vector.step(np.array([action, action]))[1].tolist() == [float(np.sum(action))] * 2
    for action in bad:
        with pytest.raises(InvalidActionError, match="test/choice-v0"):
            env.step(action)
        with pytest.raises(InvalidActionError, match="test/choice-v0"):
            vector.step([good[0], action])
