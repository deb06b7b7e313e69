"""Moves, walls, apples, the portal: exact numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.labyrinth.arrays import TorchArrays
from envs.labyrinth.maze import CELL_BLOCK
from envs.labyrinth.random_maze import RandomMaze
from envs.labyrinth.rules import BACK, FORWARD, LEFT, LOOK_LEFT, LOOK_RIGHT, RIGHT, Rules
from envs.labyrinth.units import APPLE, BLOCK, EATEN, FREE, PORTAL, RADIUS, SIDE, WALLS

MODEL = RandomMaze(backend="numpy")
HALL = "1" * 9 + "\n" + ("1" + " " * 7 + "1\n") * 7 + "1" * 9


def standing(blocks, x, y, heading, key=5, cells=11):
    """Return the state of one player at ``(x, y)`` in blocks."""
    numbers = {"key": key, "cells": cells, "x": int(x * BLOCK), "y": int(y * BLOCK)}
    numbers |= {"heading": heading, "apples": 0, "portals": 0}
    return {name: np.array([number]) for name, number in numbers.items()} | {
        "blocks": blocks.copy()
    }


def act(state, *actions):
    """Return the rewards of actions played one after the other on ``state``."""
    rewards = []
    for action in actions:
        outcome = MODEL.step(state, np.array([action]), [])
        assert not outcome.terminated.any(), "only the time limit ends an episode"
        rewards.append(float(outcome.reward[0]))
    return rewards


def place(state):
    return int(state["x"][0]), int(state["y"][0])


@pytest.mark.parametrize("heading", range(16))
def test_steps_are_a_quarter_of_a_block_in_the_right_direction(lab, heading):
    turn = 2 * np.pi * heading / 16
    ahead = np.array([np.cos(turn), np.sin(turn)])
    right = np.array([-np.sin(turn), np.cos(turn)])  # y points down: clockwise
    for action, way in ((FORWARD, ahead), (BACK, -ahead), (RIGHT, right), (LEFT, -right)):
        state = standing(lab.world(HALL), 4.5, 4.5, heading)
        assert act(state, action) == [0.0]
        moved = np.array(place(state)) - 4.5 * BLOCK
        assert np.abs(moved - 256 * way).max() <= 0.5
        assert state["heading"][0] == heading


def test_sixteen_looks_are_a_turn_and_do_not_move(lab):
    state = standing(lab.world(HALL), 4.5, 4.5, 0)
    seen = []
    for _ in range(16):
        act(state, LOOK_RIGHT)
        seen.append(int(state["heading"][0]))
    assert seen == [*range(1, 16), 0]
    act(state, LOOK_LEFT, LOOK_LEFT)
    assert state["heading"][0] == 14
    assert place(state) == (4.5 * BLOCK, 4.5 * BLOCK)


def test_a_wall_stops_the_player_at_arms_length(lab):
    state = standing(lab.world(HALL), 4.5, 4.5, 0)
    act(state, *[FORWARD] * 40)
    x, y = place(state)
    assert y == 4.5 * BLOCK
    assert 8 * BLOCK - RADIUS - 256 < x < 8 * BLOCK - RADIUS


def test_the_player_slides_along_a_wall(lab):
    state = standing(lab.world(HALL), 7.7, 2.5, 2)  # to the south-east, at the east wall
    act(state, FORWARD, FORWARD)
    assert place(state) == (int(7.7 * BLOCK), 2.5 * BLOCK + 2 * 181)
    state = standing(lab.world(HALL), 2.5, 7.7, 2)  # the same at the south wall
    act(state, FORWARD)
    assert place(state) == (2.5 * BLOCK + 181, int(7.7 * BLOCK))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5), min_size=1, max_size=150))
def test_the_player_is_never_in_a_wall(key, actions):
    state = MODEL.start_from(np.array([key]))
    for action in actions:
        act(state, action)
        x, y = (coordinate / BLOCK for coordinate in place(state))
        reach = RADIUS / BLOCK
        for to_y in (y - reach, y + reach):
            for to_x in (x - reach, x + reach):
                block = state["blocks"][0, int(to_y) * SIDE + int(to_x)]
                assert block == FREE or block > WALLS


def test_an_apple_is_worth_one_once(lab):
    state = standing(lab.world("111111\n1  a 1\n111111"), 1.5, 1.5, 0)
    assert act(state, *[FORWARD] * 5) == [0.0] * 5
    assert place(state)[0] == 2.75 * BLOCK
    assert act(state, FORWARD, FORWARD, BACK, BACK, FORWARD) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert state["blocks"][0, SIDE + 3] == EATEN
    assert state["apples"][0] == 1
    assert state["portals"][0] == 0


def test_the_portal_is_worth_ten_and_brings_the_apples_back(lab):
    blocks = lab.world("1111111\n1a P  1\n11111 1\n11111 1\n1111111")
    state = standing(blocks, 1.9, 1.5, 0)
    first = act(state, LOOK_LEFT, LOOK_RIGHT, FORWARD)
    assert first == [1.0, 0.0, 0.0], "the block the player stands on counts too"
    rewards = act(state, FORWARD, FORWARD, FORWARD, FORWARD)
    assert rewards == [0.0, 0.0, 0.0, 10.0]
    assert state["portals"][0] == 1
    assert np.array_equal(state["blocks"], blocks), "apples are back"
    x, y = place(state)
    assert (x % BLOCK, y % BLOCK) == (512, 512)
    assert (x // BLOCK, y // BLOCK) in {(5, 1), (5, 3)}, "an empty cell: odd, no apple, no portal"


def test_respawns_are_uniform_over_the_empty_cells(lab):
    n = 3000
    blocks = lab.world("1111111\n1P    1\n1 1 1 1\n1a    1\n1 1 1 1\n1     1\n1111111")
    one = standing(blocks, 2.2, 1.5, 8)
    state = {name: np.repeat(part, n, 0) for name, part in one.items()}
    state["key"] = np.arange(n) * 104729
    outcome = MODEL.step(state, np.full(n, FORWARD), [])
    assert (outcome.reward == 10).all()
    cell = (state["y"] // BLOCK) * SIDE + state["x"] // BLOCK
    numbers, counts = np.unique(cell, return_counts=True)
    empty = [block for block in CELL_BLOCK if blocks[0, block] == FREE]
    assert numbers.tolist() == sorted(empty)
    assert ((counts - n / 7) ** 2 / (n / 7)).sum() < 22.5  # chi-square, 6 degrees, p = 0.001
    heading = np.bincount(state["heading"], minlength=16)
    assert ((heading - n / 16) ** 2 / (n / 16)).sum() < 37.7


def test_each_respawn_is_another_draw(lab):
    blocks = lab.world(HALL)
    blocks[0, SIDE + 1] = PORTAL
    seen = set()
    state = standing(blocks, 2.2, 1.5, 8)
    for _ in range(12):
        state["x"][:], state["y"][:], state["heading"][:] = int(2.2 * BLOCK), int(1.5 * BLOCK), 8
        assert act(state, FORWARD) == [10.0]
        seen.add((*place(state), int(state["heading"][0])))
    assert len(seen) > 9


def test_rows_are_independent_and_torch_agrees():
    rng = np.random.default_rng(3)
    n, steps = 40, 120
    keys = rng.integers(0, 1 << 32, n)
    together = MODEL.start_from(keys)
    alone = [MODEL.start_from(keys[k : k + 1]) for k in range(3)]
    there = TorchArrays("labyrinth/random-v0", "cpu")
    rules = Rules(there)
    tensors = {name: there.array(part.copy(), str(part.dtype)) for name, part in together.items()}
    reached = 0.0
    for actions in rng.choice(6, (steps, n), p=[0.6, 0.02, 0.03, 0.05, 0.1, 0.2]):
        reward = MODEL.step(together, actions, []).reward
        events = rules.advance(tensors, there.array(actions))
        assert np.array_equal(events.apple.numpy() + 10 * events.portal.numpy(), reward)
        for k in range(3):
            assert act(alone[k], actions[k]) == [reward[k]]
        reached += reward.sum()
    assert reached > 0
    for name, part in together.items():
        assert np.array_equal(tensors[name].numpy(), part), name
        for k in range(3):
            assert np.array_equal(alone[k][name][0], part[k]), name
    assert set(np.unique(together["blocks"])) >= {APPLE, EATEN, PORTAL}
