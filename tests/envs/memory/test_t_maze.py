"""T-maze: rules step by step, and what is possible without memory."""

import itertools

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.memory.t_maze import EAST, NORTH, SOUTH, WEST, TMaze

LENGTH = 5


def start(model, souths):
    n = len(souths)
    return {
        "south": np.array(souths),
        "place": np.zeros(n, np.int64),
        "steps": np.zeros(n, np.int64),
    }


def chain(policy):
    """Return the exact expected return of a stochastic policy ``[4 observations, 4 actions]``.

    The model is stepped from every (cue, place, first step or not) with every action; the values
    solve the linear equations of the resulting Markov chain.
    """
    model = TMaze(LENGTH)
    cells = list(itertools.product(range(2), range(LENGTH + 1), range(2)))
    index = {cell: k for k, cell in enumerate(cells)}
    matrix, reward = np.eye(len(cells)), np.zeros(len(cells))
    for south, place, later in cells:
        for action in range(4):
            state = {name: np.array([v]) for name, v in
                     (("south", south), ("place", place), ("steps", later))}  # fmt: skip
            obs = int(model.observe(state)[0].argmax())
            outcome = model.step(state, np.array([action]), [])
            chance, here = policy[obs, action], index[south, place, later]
            reward[here] += chance * outcome.reward[0]
            if not outcome.terminated[0]:
                there = index[south, int(outcome.state["place"][0]), 1]
                matrix[here, there] -= chance
    values = np.linalg.solve(matrix, reward)
    return (values[index[0, 0, 0]] + values[index[1, 0, 0]]) / 2


def played(actions):
    """Return the mean return over both cues of a certain policy, in the 60 steps it may take.

    A policy that has not ended by then goes round for ever, without a prize.
    """
    model, state = TMaze(LENGTH), start(TMaze(LENGTH), [0, 1])
    total, over = np.zeros(2), np.zeros(2, bool)
    for _ in range(60):
        outcome = model.step(state, np.array(actions)[model.observe(state).argmax(1)], [])
        total += np.where(over, 0.0, outcome.reward)
        state, over = outcome.state, over | outcome.terminated
    return total.mean()


def test_the_best_policy_without_memory_returns_045():
    values = {p: played(p) for p in itertools.product(range(4), repeat=4)}
    assert max(values.values()) == pytest.approx(0.45, abs=1e-12)
    best = {p for p, value in values.items() if value > 0.45 - 1e-9}
    assert best == {(EAST, EAST, EAST, turn) for turn in (NORTH, SOUTH)}
    assert chain(np.eye(4)[[EAST, EAST, EAST, NORTH]]) == pytest.approx(0.45, abs=1e-12)


@settings(max_examples=200)
@given(st.lists(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), min_size=4, max_size=4))
def test_no_stochastic_policy_without_memory_does_better(weights):
    policy = np.array(weights)
    assert chain(policy / policy.sum(1, keepdims=True)) <= 0.45 + 1e-9


def test_the_random_policy_pays_for_wandering():
    uniform = chain(np.full((4, 4), 0.25))
    model = TMaze(LENGTH)
    rng = np.random.default_rng(0)
    n = 4000
    state, total, over = start(model, rng.integers(0, 2, n)), np.zeros(n), np.zeros(n, bool)
    for _ in range(2000):
        outcome = model.step(state, rng.integers(0, 4, n), [])
        total += np.where(over, 0, outcome.reward)
        state, over = outcome.state, over | outcome.terminated
    assert over.all()
    assert total.mean() == pytest.approx(uniform, abs=0.03)
    assert uniform < 0.3


def test_an_episode_by_hand():
    env = gymnasium.make("envs:memory/t-maze-v0", length=5)
    for seed in range(6):
        obs, info = env.reset(seed=seed)
        south = int(obs[1])
        assert obs.tolist() == [1 - south, south, 0, 0]
        assert info == {"success": 0}
        obs, reward, *_ = env.step(NORTH)
        assert (obs.tolist(), reward) == ([0, 0, 1, 0], -0.01)
        assert env.step(WEST)[1] == -0.01
        assert env.step(SOUTH)[1] == -0.01
        for place in range(1, 6):
            obs, reward, *_ = env.step(EAST)
            assert (obs.tolist(), reward) == ([0, 0, place < 5, place == 5], 0)
        assert env.step(EAST)[1] == -0.01
        obs, reward, *_ = env.step(WEST)
        assert (obs.tolist(), reward) == ([0, 0, 1, 0], 0)
        env.step(EAST)
        turn = (NORTH, SOUTH)[south] if seed % 2 else (SOUTH, NORTH)[south]
        _, reward, terminated, truncated, info = env.step(turn)
        assert (reward, terminated, truncated) == (1.0 if seed % 2 else -0.1, True, False)
        assert info["success"] == seed % 2


def test_the_cue_does_not_come_back():
    model = TMaze(LENGTH)
    state = start(model, [0, 1])
    for action in (EAST, WEST, WEST):
        state = model.step(state, np.array([action] * 2), []).state
        assert model.observe(state).tolist() == [[0, 0, 1, 0]] * 2


def test_both_cues_come_alike():
    model = TMaze()
    south = model.start([np.random.default_rng(k) for k in range(2000)], {})["south"]
    assert south.mean() == pytest.approx(0.5, abs=0.045)


@pytest.mark.parametrize("length", [4, 1001, 2.5, "5", True])
def test_bad_length_is_named(length):
    with pytest.raises(ValueError, match=r"memory/t-maze-v0: length must be an integer"):
        TMaze(length)
