"""Maps written as text, and players in random places of random mazes."""

from types import SimpleNamespace

import numpy as np
import pytest

from envs.labyrinth.arrays import NumpyArrays
from envs.labyrinth.maze import MazeRules, make_mazes
from envs.labyrinth.textures import make_paint
from envs.labyrinth.units import APPLE, BLOCK, PORTAL, RADIUS, SIDE, ray_tables

LETTERS = {" ": 0, "a": APPLE, "P": PORTAL}


def world(text):
    """Return blocks uint8 ``[1, 529]`` from rows of letters; digits are wall textures."""
    blocks = np.ones((SIDE, SIDE), np.uint8)
    for y, row in enumerate(text.strip("\n").split("\n")):
        for x, letter in enumerate(row.strip("|")):
            blocks[y, x] = LETTERS[letter] if letter in LETTERS else int(letter)
    return blocks.reshape(1, -1)


def crowd(n, seed=0, apples=0.4):
    """Return blocks, x, y, headings of players anywhere in mazes full of apples."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 1 << 32, n)
    blocks = make_mazes(NumpyArrays(), keys, MazeRules(2, 11, 0.2, apples)).blocks
    at = np.array([rng.choice(np.flatnonzero(row == 0)) for row in blocks])
    inside = rng.integers(RADIUS, BLOCK - RADIUS + 1, (2, n))
    x, y = at % SIDE * BLOCK + inside[0], at // SIDE * BLOCK + inside[1]
    return blocks, x, y, rng.integers(0, 16, n)


@pytest.fixture(scope="session")
def lab():
    """The functions above, the camera's constants and the paint."""
    rays = ray_tables()
    return SimpleNamespace(world=world, crowd=crowd, rays=rays, paint=make_paint(rays))
