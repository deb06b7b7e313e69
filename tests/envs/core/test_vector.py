"""The vector form of a model: both autoreset modes against the plain form, infos, copies, state."""

import copy
import pickle

import numpy as np
import pytest
from gymnasium import error
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from envs.core import ResetNeeded
from envs.testing.traces import row_info, same

MODES = ["NextStep", "SameStep"]


def plain_rows(env, actions, seed, limit, mode):
    """What one environment must give in the vector form: (obs, reward, ends, info, last)."""
    obs, info = env.reset(seed=seed)
    yield obs, 0.0, False, False, info, None
    over, elapsed = False, 0
    for action in actions:
        if over:
            (obs, info), over, elapsed = env.reset(), False, 0
            yield obs, 0.0, False, False, info, None
            continue
        obs, reward, terminated, truncated, info = env.step(action)
        elapsed += 1
        truncated = truncated or elapsed >= limit
        ended, last = terminated or truncated, None
        if ended and mode == "SameStep":
            last = (obs, info)
            obs, info = env.reset()
            elapsed = 0
        elif ended:
            over = True
        yield obs, reward, terminated, truncated, info, last


def vector_rows(vector, actions, seeds):
    """The same, row by row, from the vector form: a list for each environment."""
    n = vector.num_envs
    obs, infos = vector.reset(seed=seeds)
    rows = [[(obs[k], 0.0, False, False, row_info(infos, k), None)] for k in range(n)]
    for step in range(actions.shape[1]):
        obs, reward, terminated, truncated, infos = vector.step(actions[:, step])
        finals = infos.pop("final_obs", None), infos.pop("final_info", None)
        masks = infos.pop("_final_obs", np.zeros(n, bool)), infos.pop("_final_info", None)
        for k in range(n):
            last = (finals[0][k], row_info(finals[1], k)) if masks[0][k] else None
            flags = float(reward[k]), bool(terminated[k]), bool(truncated[k])
            rows[k].append((obs[k].copy(), *flags, row_info(infos, k), last))
    return rows


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["noisy", "calm"])
@given(
    seed=st.integers(0, 2**40),
    n=st.integers(1, 4),
    limit=st.integers(1, 9),
    length=st.integers(1, 8),
    high=st.sampled_from([0.2, 1.0, 3.0]),
)
def test_each_row_is_the_plain_environment(toys, form, mode, seed, n, limit, length, high):
    plain_type, vector_type = toys.forms[form]
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-0.3, high, (n, 25, 2))
    seeds = [int(own) for own in rng.integers(0, 2**31, n)]
    vector = vector_type(n, limit, mode, length=length)
    rows = vector_rows(vector, actions, seeds)
    for k in range(n):
        wanted = list(plain_rows(plain_type(length=length), actions[k], seeds[k], limit, mode))
        assert same(rows[k], wanted), (k, form, mode)


@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_a_short_run(toys, mode):
    """By hand: start at 0, steps of 2 reach 5 in three; the limit of 2 cuts before."""
    vector = toys.CalmVector(1, 2, mode, starts=0.0)
    obs, infos = vector.reset(seed=0)
    assert obs.tolist() == [[0.0, 0.0]]
    assert infos["begin"].tolist() == [0.0]
    one = np.ones((1, 2))
    obs, reward, terminated, truncated, infos = vector.step(one)
    assert (obs.tolist(), reward.tolist()) == ([[2.0, 1.0]], [2.0])
    assert not terminated[0]
    assert not truncated[0]
    assert "begin" not in infos
    obs, reward, terminated, truncated, infos = vector.step(one)
    assert (reward.tolist(), terminated.tolist(), truncated.tolist()) == ([4.0], [False], [True])
    if mode == "SameStep":
        assert infos["final_obs"][0].tolist() == [4.0, 2.0]
        assert infos["final_info"]["place"].tolist() == [4.0]
        assert obs.tolist() == [[0.0, 0.0]]
        assert infos["place"].tolist() == [0.0], "the next episode's"
        assert infos["_pair"].tolist() == [False]
    else:
        assert obs.tolist() == [[4.0, 2.0]]
        obs, reward, terminated, truncated, infos = vector.step(one)
        assert (obs.tolist(), reward.tolist()) == ([[0.0, 0.0]], [0.0])
        assert not terminated[0]
        assert not truncated[0]
        assert infos["begin"].tolist() == [0.0]


def test_termination_on_the_limit_is_both(toys):
    vector = toys.CalmVector(1, 3, starts=0.0)
    vector.reset(seed=0)
    ends = [vector.step(np.ones((1, 2)))[2:4] for _ in range(3)]
    assert [(bool(t[0]), bool(c[0])) for t, c in ends] == [(False, False)] * 2 + [(True, True)]


@pytest.mark.parametrize("form", ["noisy", "calm"])
def test_masks_are_true_only_where_the_value_is_real(toys, form):
    vector = toys.forms[form][1](3, length=3, starts=0.0)
    vector.reset(seed=[1, 2, 3])
    actions = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    for _ in range(3):
        *_, terminated, _, infos = vector.step(np.zeros((3, 2)))
    assert terminated.all()
    vector.step(actions)
    for _ in range(3):
        *_, infos = vector.step(actions)
    state = vector.get_state()
    state["ended"] = np.array([True, False, False])
    state["model"]["time"][:] = 0
    vector.set_state(state)
    *_, infos = vector.step(np.full((3, 2), 3.0))
    for name, mask in (
        ("place", [True, True, True]),
        ("begin", [True, False, False]),
        ("pair", [False, True, True]),
        ("action_clipped", [False, True, True]),
    ):
        assert infos[f"_{name}"].tolist() == mask, name
    assert infos["action_clipped"].tolist() == [0, 2, 2]
    assert infos["pair"][0].tolist() == [0.0, 0.0]
    assert infos["begin"][1] == 0.0


def test_what_is_handed_out_is_never_written_to_again(toys):
    vector = toys.Vector(2, 4, "SameStep")
    kept, copies = [], []
    vector.reset(seed=3)
    for _ in range(12):
        result = vector.step(np.full((2, 2), 0.3))
        kept.append(result)
        copies.append(copy.deepcopy(result))
    assert same(kept, copies)


def test_writing_into_results_changes_nothing(toys):
    def trace(spoil):
        vector, out = toys.Vector(2, 4), []
        vector.reset(seed=3)
        for _ in range(12):
            result = vector.step(np.full((2, 2), 0.3))
            out.append(copy.deepcopy(result))
            if spoil:
                for array in (*result[:4], *result[4].values()):
                    array[...] = 1
        return out

    assert same(trace(False), trace(True))


def test_actions_are_not_written_to(toys):
    vector = toys.Vector(2)
    vector.reset(seed=0)
    actions = np.full((2, 2), 9.0)
    vector.step(actions)
    assert (actions == 9.0).all()


def test_the_action_of_a_row_being_reset_is_ignored(toys):
    for vector_type in (toys.Vector, toys.CalmVector):
        vector = vector_type(2, length=1)
        vector.reset(seed=0)
        vector.step(np.zeros((2, 2)))
        obs, reward, *_ = vector.step(np.full((2, 2), np.nan))
        assert reward.tolist() == [0.0, 0.0]
        assert obs[:, 1].tolist() == [0.0, 0.0]


def test_an_invalid_action_changes_nothing(toys):
    vector = toys.Vector(2)
    vector.reset(seed=0)
    before = vector.get_state()
    with pytest.raises(ValueError, match="not a number"):
        vector.step([[0.0, np.nan], [0.0, 0.0]])
    assert same(vector.get_state(), before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_state_and_pickle_go_on_exactly(toys, mode, steps):
    vector = toys.Vector(3, 4, mode, length=3)
    vector.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        vector.step(rng.uniform(-1, 1, (3, 2)))
    state, pickled = vector.get_state(), pickle.dumps(vector)
    rest = rng.uniform(-1, 1, (9, 3, 2))
    wanted = [vector.step(actions) for actions in rest]
    fresh = toys.Vector(3, 4, mode, length=3)
    fresh.set_state(state)
    again = pickle.loads(pickled)
    assert same([fresh.step(actions) for actions in rest], wanted)
    assert same([again.step(actions) for actions in rest], wanted)
    vector.set_state(state)  # the first use must not have changed it
    assert same([vector.step(actions) for actions in rest], wanted)
    assert again.autoreset_mode is AutoresetMode(mode)


def test_pickle_keeps_the_spec(toys):
    vector = toys.Vector(2)
    vector.spec = "the registration"
    assert pickle.loads(pickle.dumps(vector)).spec == "the registration"


def test_states_of_other_environments_are_refused(toys):
    vector = toys.Vector(2)
    vector.reset(seed=0)
    state = vector.get_state()
    with pytest.raises(ValueError, match="holds 2 environments, wanted 3"):
        toys.Vector(3).set_state(state)
    del state["model"]["time"]
    with pytest.raises(ValueError, match=r"test/walk-v0: the saved state belongs to another.*time"):
        vector.set_state(state)


def test_calls_before_the_first_reset(toys):
    vector = toys.Vector(2, render_mode="rgb_array")
    for call in (lambda: vector.step(np.zeros((2, 2))), vector.get_state, vector.render):
        with pytest.raises(ResetNeeded, match="before the first reset"):
            call()
    vector.close()
    vector.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"num_envs": 2.5}, "num_envs must be an integer >= 1, got 2.5"),
        ({"max_episode_steps": 0}, "max_episode_steps must be"),
        ({"autoreset_mode": "Disabled"}, "autoreset_mode must be one of NextStep, SameStep"),
        ({"render_mode": "human"}, "render_mode must be one of rgb_array"),
        ({"noize": 1.0}, "unknown argument noize; did you mean noise?"),
        ({"noise": -1.0}, "noise must be >= 0.0, got -1.0"),
    ],
)
def test_bad_arguments_are_named(toys, arguments, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        toys.Vector(**arguments)
    assert str(caught.value).startswith("test/walk-v0: ")
    assert words in str(caught.value)


def test_metadata_spaces_and_pictures(toys):
    vector = toys.Vector(2, autoreset_mode=AutoresetMode.SAME_STEP, render_mode="rgb_array")
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert vector.metadata["render_fps"] == 7
    assert vector.observation_space.shape == (2, 2)
    assert vector.single_action_space.shape == (2,)
    vector.reset(seed=0)
    vector.step(np.zeros((2, 2)))
    state = vector.get_state()
    state["model"]["time"][:] = [3, 5]
    vector.set_state(state)
    assert [int(picture[0, 0, 0]) for picture in vector.render()] == [3, 5]
    assert toys.Vector(2).render() is None


def test_reset_options_reach_the_start_and_not_the_autoreset(toys):
    vector = toys.CalmVector(2, length=1, starts=0.0)
    obs, _ = vector.reset(seed=0, options={"shift": 3.0})
    assert obs[:, 0].tolist() == [3.0, 3.0]
    vector.step(np.zeros((2, 2)))
    obs, *_ = vector.step(np.zeros((2, 2)))
    assert obs[:, 0].tolist() == [0.0, 0.0]


def test_reset_needed_is_gymnasiums():
    assert ResetNeeded is error.ResetNeeded
