"""Catch: rules, the image, the chance of a blind player."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.memory.catch import Catch


def test_an_episode_by_hand():
    env = gymnasium.make("envs:memory/catch-v0")
    obs, info = env.reset(seed=0)
    ball, paddle = int(obs[0, 0].argmax()), 5
    assert info == {"success": 0}
    for step in range(9):
        picture = np.zeros((1, 10, 10), np.uint8)
        picture[0, step, ball] = picture[0, 9, paddle] = 255
        np.testing.assert_array_equal(obs, picture)
        action = [0, 0, 0, 0, 0, 0, 1, 2, 2][step]  # six times left: the edge holds it
        paddle = max(0, paddle + action - 1)
        obs, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (step == 8, False)
        assert reward == (0 if step < 8 else 1 if ball == 2 else -1)
    assert paddle == 2
    assert obs[0, 9, 2] == 255
    assert info["success"] == (ball == 2)


@given(rows=st.integers(2, 12), data=st.data())
def test_every_ball_can_be_caught(rows, data):
    columns = data.draw(st.integers(2, 2 * rows - 1))
    model = Catch(rows, columns)
    n = columns
    state = {"ball": np.arange(n), "row": np.zeros(n, int), "paddle": np.full(n, columns // 2)}
    for _ in range(rows - 1):
        outcome = model.step(state, np.sign(state["ball"] - state["paddle"]) + 1, [])
        state = outcome.state
    assert outcome.reward.tolist() == [1.0] * n
    assert outcome.terminated.all()
    assert outcome.info["success"].tolist() == [1] * n


def test_a_player_that_does_not_look_catches_one_in_ten():
    model = Catch()
    n, rng = 6000, np.random.default_rng(0)
    state = model.start([np.random.default_rng(k) for k in range(n)], {})
    counts = np.bincount(state["ball"], minlength=10)
    assert ((counts - 600) ** 2 / 600).sum() < 27.9  # chi-square, 9 degrees, 0.1 %
    for _ in range(9):
        outcome = model.step(state, rng.integers(0, 3, n), [])
        state = outcome.state
    assert outcome.reward.mean() == pytest.approx(-0.8, abs=4 * 0.6 / np.sqrt(n))


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (4, 8), (10, 1)])
def test_boards_that_cannot_be_won_are_refused(rows, columns):
    with pytest.raises(ValueError, match=r"memory/catch-v0: (rows|columns) must be an integer in"):
        Catch(rows, columns)
