"""Key and door: layout, moves, views, shortest ways."""

from collections import deque

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.memory.key_door import EAST, NORTH, SOUTH, WEST, KeyDoor
from envs.memory.policies import make_key_door_shortest


def made(seed, size=7, view=None):
    model = KeyDoor(size, view)
    return model, model.start([np.random.default_rng(seed)], {})


@given(seed=st.integers(0, 10**6), size=st.integers(5, 12))
def test_layout(seed, size):
    model, state = made(seed, size)
    s = {name: int(values[0]) for name, values in state.items()}
    assert 2 <= s["wall"] <= size - 3
    assert 1 <= s["door"] <= size - 2
    assert 1 <= s["column"] < s["wall"]
    assert 1 <= s["key_column"] < s["wall"]
    assert s["wall"] < s["goal_column"] <= size - 2
    for row in ("row", "key_row", "goal_row"):
        assert 1 <= s[row] <= size - 2
    assert (s["row"], s["column"]) != (s["key_row"], s["key_column"])
    assert not s["has_key"]
    assert not s["open"]
    agent, wall, key, door, goal = model.observe(state)[0] > 0
    assert agent.sum() == key.sum() == door.sum() == goal.sum() == 1
    assert wall.sum() == 4 * (size - 1) + size - 3
    assert not (wall & (agent | key | door | goal)).any()
    assert agent[s["row"], s["column"]]
    assert key[s["key_row"], s["key_column"]]
    assert door[s["door"], s["wall"]]
    assert goal[s["goal_row"], s["goal_column"]]
    assert wall[:, s["wall"]].sum() == size - 1


def test_every_cell_is_drawn():
    model = KeyDoor(5)
    state = model.start([np.random.default_rng(k) for k in range(400)], {})
    for name, column in (("row", 1), ("key_row", 1), ("goal_row", 3)):
        assert set(state[name].tolist()) == {1, 2, 3}
        assert set(state[name.replace("row", "column")].tolist()) == {column}
    assert set(state["door"].tolist()) == {1, 2, 3}
    walls = KeyDoor(9).start([np.random.default_rng(k) for k in range(200)], {})["wall"]
    assert set(walls.tolist()) == {2, 3, 4, 5, 6}


def placed(**changes):
    """A room of 7: wall in column 3 with its door in row 2, key at (4, 1), goal at (5, 5)."""
    state = {"row": 2, "column": 1, "key_row": 4, "key_column": 1, "wall": 3, "door": 2,
             "goal_row": 5, "goal_column": 5, "has_key": False, "open": False}  # fmt: skip
    return {name: np.array([value]) for name, value in (state | changes).items()}


def walk(state, actions):
    model, rewards = KeyDoor(), []
    for action in actions:
        outcome = model.step(state, np.array([action]), [])
        state = outcome.state
        rewards.append(float(outcome.reward[0]))
    return state, rewards, outcome


def test_an_episode_by_hand():
    state, _, _ = walk(placed(), [NORTH, NORTH, WEST])  # walls hold
    assert (int(state["row"][0]), int(state["column"][0])) == (1, 1)
    state, _, _ = walk(placed(), [EAST, EAST])  # the door is locked
    assert (int(state["row"][0]), int(state["column"][0])) == (2, 2)
    assert not state["open"][0]
    state, rewards, _ = walk(placed(), [SOUTH, SOUTH])
    assert state["has_key"][0]
    assert rewards == [-0.01, -0.01]
    planes = KeyDoor().observe(state)[0]
    assert not planes[2].any()
    assert planes[3].any()
    state, _, _ = walk(state, [EAST, EAST])  # the wall holds even with the key
    assert (int(state["row"][0]), int(state["column"][0])) == (4, 2)
    state, _, outcome = walk(state, [NORTH, NORTH, EAST])
    assert (int(state["row"][0]), int(state["column"][0])) == (2, 3)
    assert state["open"][0]
    assert not KeyDoor().observe(state)[0][3].any()
    assert not outcome.terminated[0]
    state, rewards, outcome = walk(state, [EAST, EAST, SOUTH, SOUTH, SOUTH])
    assert rewards == [-0.01] * 4 + [pytest.approx(0.99)]
    assert outcome.terminated[0]
    assert outcome.info["success"][0] == 1


def shortest(model, state):
    """Return the least number of steps, by search over what the model itself does."""
    names = ("row", "column", "has_key", "open")

    def key(s):
        return tuple(int(s[name][0]) for name in names)

    queue, seen = deque([(state, 0)]), {key(state)}
    while queue:
        s, steps = queue.popleft()
        for action in range(4):
            outcome = model.step(dict(s), np.array([action]), [])
            if outcome.terminated[0]:
                return steps + 1
            if key(outcome.state) not in seen:
                seen.add(key(outcome.state))
                queue.append((outcome.state, steps + 1))
    raise AssertionError("the goal cannot be reached")


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_the_scripted_way_is_shortest(seed):
    env = gymnasium.make("envs:memory/key-door-v0")
    obs, info = env.reset(seed=seed)
    best = shortest(env.unwrapped.model, env.unwrapped.get_state()["model"])
    policy, total, steps, over = make_key_door_shortest(env.unwrapped), 0.0, 0, False
    while not over:
        obs, reward, terminated, truncated, info = env.step(policy(obs, info))
        total, steps, over = total + reward, steps + 1, terminated or truncated
    assert (steps, terminated) == (best, True)
    assert total == pytest.approx(1 - 0.01 * best)


@given(seed=st.integers(0, 10**6), size=st.integers(5, 9), reach=st.integers(1, 3))
def test_a_view_is_a_window_of_the_whole(seed, size, reach):
    whole, state = made(seed, size)
    narrow = KeyDoor(size, 2 * reach + 1)
    state["has_key"][0] = seed % 2
    planes = whole.observe(state)[0]
    wide = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)))
    wide[1] = np.pad(planes[1], reach, constant_values=255)  # beyond the walls is wall
    row, column = int(state["row"][0]), int(state["column"][0])
    window = wide[:, row : row + 2 * reach + 1, column : column + 2 * reach + 1]
    np.testing.assert_array_equal(narrow.observe(state)[0], window)
    assert window[0, reach, reach] == 255


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"size": 4}, "size must be an integer in"), ({"view": 4}, "view must be odd, got 4")],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=f"memory/key-door-v0: {message}"):
        KeyDoor(**kwargs)
