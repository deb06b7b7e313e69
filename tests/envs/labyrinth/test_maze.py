"""Mazes: connected, with the loops, apples and portal asked for, equal on all backends."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.labyrinth import numba_maze
from envs.labyrinth.arrays import NumpyArrays
from envs.labyrinth.maze import CELL_BLOCK, MazeRules, make_mazes
from envs.labyrinth.units import APPLE, FREE, PORTAL, SIDE, WALLS

XP = NumpyArrays()
DEFAULT = MazeRules(5, 11, 0.1, 0.1)
sizes = st.integers(2, 11)
keys = st.integers(0, 2**32 - 1)


def passages(row, cells):
    """Return cells reached from the first one, and passages between cells, by plain search."""
    grid = row.reshape(SIDE, SIDE)
    is_open = (grid == FREE) | (grid > WALLS)
    edges = 0
    for y in range(cells):
        for x in range(cells):
            assert is_open[2 * y + 1, 2 * x + 1], "cells are open"
            edges += int(is_open[2 * y + 1, 2 * x + 2]) + int(is_open[2 * y + 2, 2 * x + 1])
            assert not is_open[2 * y, 2 * x], "pillars stand"
    assert is_open.sum() == cells**2 + edges, "nothing else is open, the rim is closed"
    seen, front = {(0, 0)}, deque([(0, 0)])
    while front:
        x, y = front.popleft()
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            there = x + dx, y + dy
            if is_open[2 * y + 1 + dy, 2 * x + 1 + dx] and there not in seen:
                seen.add(there)
                front.append(there)
    return len(seen), edges


@settings(max_examples=60, deadline=None)
@given(keys, sizes, st.floats(0, 1), st.floats(0, 1))
def test_connected_with_loops_and_apples_as_set(key, cells, loops, apples):
    mazes = make_mazes(XP, np.array([key]), MazeRules(cells, cells, loops, apples))
    row = mazes.blocks[0]
    reached, edges = passages(row, cells)
    assert reached == cells**2
    assert edges - (cells**2 - 1) == min(int(loops * cells**2 + 1e-9), (cells - 1) ** 2)
    assert (row == APPLE).sum() == min(int(apples * cells**2 + 1e-9), cells**2 - 2)
    assert (row == PORTAL).sum() == 1
    assert set(np.flatnonzero(row > WALLS)) <= set(CELL_BLOCK), "things lie in cells"
    assert row[CELL_BLOCK[mazes.start[0]]] == FREE


def test_without_loops_the_maze_is_perfect():
    mazes = make_mazes(XP, np.arange(40), MazeRules(2, 11, 0.0, 0.0))
    for row, cells in zip(mazes.blocks, mazes.cells, strict=True):
        assert passages(row, int(cells)) == (cells**2, cells**2 - 1)
        assert not (row == APPLE).any()


def test_all_walls_can_be_opened():
    mazes = make_mazes(XP, np.arange(5), MazeRules(4, 4, 1.0, 0.0))
    for row in mazes.blocks:
        assert passages(row, 4) == (16, 24)


def test_sizes_starts_and_headings_are_uniform():
    n = 7000
    mazes = numba_maze.make_mazes(np.arange(n) * 613, DEFAULT)
    counts = np.bincount(mazes.cells, minlength=12)
    assert counts[:5].sum() == 0
    assert ((counts[5:] - n / 7) ** 2 / (n / 7)).sum() < 22.5  # chi-square, 6 degrees, p = 0.001
    heading = np.bincount(mazes.heading, minlength=16)
    assert ((heading - n / 16) ** 2 / (n / 16)).sum() < 37.7  # 15 degrees
    start = np.bincount(mazes.start[mazes.cells == 5], minlength=60)[: 5 * 11].reshape(5, 11)
    assert not start[:, 5:].any()
    five = start[:, :5]
    assert ((five - five.mean()) ** 2 / five.mean()).sum() < 51.2  # 24 degrees


def test_mazes_differ():
    mazes = numba_maze.make_mazes(np.arange(500), MazeRules(5, 5, 0.0, 0.0))
    walls = (mazes.blocks >= 1) & (mazes.blocks <= WALLS)
    assert len({row.tobytes() for row in walls}) > 450


def test_walls_have_a_texture_a_zone_and_signs():
    blocks = numba_maze.make_mazes(np.arange(200), DEFAULT).blocks.reshape(-1, SIDE, SIDE)
    walls = blocks[(blocks > 0) & (blocks <= WALLS)]
    assert set(walls) == set(range(1, 9))
    assert np.isin(walls, (7, 8)).mean() == pytest.approx(1 / 12, abs=0.005)
    zone = blocks[0, 12:16, 16:20]
    plain = zone[(zone > 0) & (zone < 7)]
    assert len(set(plain.tolist())) == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(keys, min_size=1, max_size=7), sizes, sizes, st.floats(0, 1), st.floats(0, 1))
def test_numba_and_torch_make_the_same_mazes(some, one, other, loops, apples):
    from envs.labyrinth.arrays import TorchArrays

    rules = MazeRules(min(one, other), max(one, other), loops, apples)
    wanted = make_mazes(XP, np.array(some), rules)
    there = TorchArrays("labyrinth/random-v0", "cpu")
    tensors = make_mazes(there, there.array(some), rules)
    compiled = numba_maze.make_mazes(np.array(some), rules)
    for name in ("blocks", "cells", "start", "heading"):
        assert np.array_equal(getattr(compiled, name), getattr(wanted, name)), name
        assert np.array_equal(getattr(tensors, name).numpy(), getattr(wanted, name)), name


def test_a_maze_does_not_depend_on_its_neighbours():
    together = make_mazes(XP, np.arange(9), DEFAULT)
    for k in range(9):
        alone = make_mazes(XP, np.array([k]), DEFAULT)
        assert np.array_equal(alone.blocks[0], together.blocks[k])
        assert alone.start[0] == together.start[k]
