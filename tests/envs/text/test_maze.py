"""Moves and rewards of the text maze."""

import numpy as np
import pytest

from envs.text.maze import GOAL, LAYOUT, MOVES, OPEN, START, UNKNOWN, MazeEnv, distances
from envs.text.policies import make_expert


def test_the_layout():
    assert (len(LAYOUT), {len(row) for row in LAYOUT}) == (10, {13})
    assert not OPEN[[0, -1]].any()
    assert not OPEN[:, [0, -1]].any()
    assert (distances()[OPEN] >= 0).all()
    assert distances()[START] == 12
    assert distances()[GOAL] == 0
    for row, column in np.argwhere(OPEN & (distances() > 0)):
        near = [distances()[row + dr, column + dc] for dr, dc in MOVES.values()]
        assert min(d for d in near if d >= 0) == distances()[row, column] - 1


def test_moves_walls_and_costs():
    env = MazeEnv(start="fixed")
    obs, _ = env.reset(seed=0)
    assert obs == "You are at 8, 6; the goal is at 1, 1. Walls: down, left, right."
    assert env.step("move left")[:3] == (obs, -1.0, False)
    assert env.step("jump")[:3] == (UNKNOWN, -4.0, False)
    assert env.step("x" * 10_000)[1] == -4.0
    assert env.step("move \u0443p")[1] == -4.0
    assert env.step("Move UP.")[0] == "You are at 7, 6; the goal is at 1, 1. Walls: left, right."
    assert env.step("down")[0] == obs


def test_the_shortest_way():
    env = MazeEnv(start="fixed")
    obs, info = env.reset(seed=0)
    policy, rewards, over = make_expert(env), [], False
    while not over:
        obs, reward, over, _, info = env.step(policy(obs, info))
        rewards.append(reward)
    assert rewards == [-1.0] * 11 + [0.0]
    assert info["won"]


def test_only_walls_may_be_seen():
    env = MazeEnv(observation="walls", start="fixed")
    assert env.reset(seed=0)[0] == "Walls: down, left, right."


def test_random_starts_cover_the_maze():
    env = MazeEnv()
    starts = {env.reset(seed=seed)[0].split(";")[0] for seed in range(600)}
    assert len(starts) == OPEN.sum() - 1
    assert "You are at 1, 1" not in starts


def test_arguments():
    with pytest.raises(ValueError, match="text/maze-v0: observation must be one of full, walls"):
        MazeEnv(observation="none")
    with pytest.raises(ValueError, match="there are no options"):
        MazeEnv().reset(options={"hidden": "x"})


def test_the_map():
    env = MazeEnv(start="fixed", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (360, 468, 3)

    def middle(picture, row, column):
        return picture[36 * row + 18, 36 * column + 18].tolist()

    assert middle(before, 8, 6) == [46, 104, 184]
    assert middle(before, 0, 0) == [34, 38, 46]
    assert before[36 + 3, 36 + 3].tolist() == [240, 200, 72]
    env.step("move up")
    after = env.render()
    assert middle(after, 7, 6) == [46, 104, 184]
    assert middle(after, 8, 6) == [250, 249, 245]
