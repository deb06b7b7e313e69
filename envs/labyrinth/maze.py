"""Random mazes, many at once: a perfect maze, loops, textures, a portal and apples.

A maze of ``c x c`` cells is a grid of ``2c + 1`` blocks a side: cells at odd coordinates, walls
between them. A depth-first walk with backtracking makes it perfect (a spanning tree of the cells);
then a set number of the walls that are left is opened, each of which closes one loop.

Written once for NumPy and torch; :mod:`envs.labyrinth.numba_maze` is the compiled twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.labyrinth import draws
from envs.labyrinth.arrays import Arrays
from envs.labyrinth.units import APPLE, FREE, MAX_CELLS, PORTAL, SIDE

CELLS = MAX_CELLS * MAX_CELLS
EDGES = 2 * CELLS
"""Walls between neighbouring cells, by number: east of cell ``k`` is ``2k``, south ``2k + 1``."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Neighbours of a cell: east, south, west, north."""
MATERIALS, SIGNS = 6, 2
"""Plain wall textures 1 to 6, and 7 and 8 with a sign on them."""
ZONE_BITS, SIGN_SHARE = 2, 12
"""Walls in a zone of 4 x 4 blocks have one texture; one block in 12 bears a sign instead."""

_K = np.arange(CELLS)
CELL_X, CELL_Y = _K % MAX_CELLS, _K // MAX_CELLS
CELL_BLOCK = (2 * CELL_Y + 1) * SIDE + 2 * CELL_X + 1
"""Number of the block in the middle of each cell."""
EDGE_BLOCK = np.stack([CELL_BLOCK + 1, CELL_BLOCK + SIDE], -1).reshape(-1)
"""Number of the block that is each wall between cells."""


@dataclass(frozen=True)
class MazeRules:
    """How mazes are made.

    Attributes:
        cells_min: Fewest cells across.
        cells_max: Most cells across.
        loops: Loops as a share of the number of cells, rounded down.
        apples: Apples as a share of the number of cells, rounded down.
    """

    cells_min: int
    cells_max: int
    loops: float
    apples: float

    def counts(self) -> np.ndarray:
        """Return the numbers of loops and apples ``[12, 2]``, by cells across."""
        across = np.arange(MAX_CELLS + 1)
        most_loops = np.maximum(across - 1, 0) ** 2  # walls that a perfect maze leaves
        loops = np.minimum((self.loops * across**2 + 1e-9).astype(np.int64), most_loops)
        apples = np.minimum(
            (self.apples * across**2 + 1e-9).astype(np.int64), np.maximum(across**2 - 2, 0)
        )
        return np.stack([loops, apples], -1)


@dataclass
class Mazes:
    """New mazes and where the player stands.

    Attributes:
        blocks: What each block holds, uint8 ``[n, 529]``, row by row.
        cells: Cells across ``[n]``.
        start: Number of the cell in which the player starts ``[n]``.
        heading: The player's heading ``[n]``.
    """

    blocks: Any
    cells: Any
    start: Any
    heading: Any


def make_mazes(xp: Arrays, keys: Any, rules: MazeRules) -> Mazes:
    """Return the maze of each key.

    Args:
        xp: Library of the arrays.
        keys: Int64 ``[n]``, from 0 to 2**32 - 1.
        rules: Sizes and shares.
    """
    rows = xp.arange(len(keys))
    spread = rules.cells_max - rules.cells_min + 1
    cells = rules.cells_min + draws.below(keys, draws.SIZE_DRAW, spread)
    counts = xp.array(rules.counts())[cells]
    inside = (xp.array(CELL_X) < cells[:, None]) & (xp.array(CELL_Y) < cells[:, None])
    blocks = _textured(xp, keys)
    _carve(xp, keys, cells, rules.cells_max, blocks)
    _open_loops(xp, keys, cells, counts[:, 0], blocks)
    order = _ranked(xp, keys, draws.CELL_DRAW, inside)
    place = xp.array(CELL_BLOCK)
    blocks[rows, place[order[:, 0]]] = PORTAL
    for k in range(int(rules.counts()[: rules.cells_max + 1, 1].max())):
        chosen = place[order[:, 2 + k]]
        apple = xp.full((len(keys),), APPLE, "uint8")
        blocks[rows, chosen] = xp.where(k < counts[:, 1], apple, blocks[rows, chosen])
    heading = draws.below(keys, draws.HEADING_DRAW, 16)
    return Mazes(blocks, cells, order[:, 1], heading)


def _textured(xp: Arrays, keys: Any) -> Any:
    """Return solid rock whose blocks have their textures."""
    number = np.arange(SIDE * SIDE)
    zone = (number // SIDE >> ZONE_BITS) * 8 + (number % SIDE >> ZONE_BITS)
    key = keys[:, None]
    material = 1 + draws.below(key, xp.array(draws.ZONE_DRAW + zone), MATERIALS)
    chance = draws.below(key, xp.array(draws.SIGN_DRAW + number), SIGNS * SIGN_SHARE)
    return xp.cast(xp.where(chance < SIGNS, 1 + MATERIALS + chance, material), "uint8")


def _carve(xp: Arrays, keys: Any, cells: Any, most: int, blocks: Any) -> None:
    """Open a perfect maze in every row: each pass moves all walks by one cell, on or back."""
    n = len(keys)
    rows = xp.arange(n)
    moves, jumps = xp.array(STEPS), xp.array([dx + dy * MAX_CELLS for dx, dy in STEPS])
    gaps = xp.array([dx + dy * SIDE for dx, dy in STEPS])
    cell_x, cell_y, place = xp.array(CELL_X), xp.array(CELL_Y), xp.array(CELL_BLOCK)
    path, depth = xp.full((n, CELLS), 0), xp.full((n,), 0)
    seen = xp.full((n, CELLS), 0, "bool")
    first = cells // 2 * (MAX_CELLS + 1)
    path[:, 0] = first
    seen[rows, first] = xp.full((n,), 1, "bool")
    blocks[rows, place[first]] = FREE
    for k in range(2 * most * most - 2):  # each cell but the first is entered once and left once
        here = path[rows, depth]
        x, y = cell_x[here][:, None] + moves[:, 0], cell_y[here][:, None] + moves[:, 1]
        size = cells[:, None]
        inside = (x >= 0) & (y >= 0) & (x < size) & (y < size)
        there = xp.where(inside, here[:, None] + jumps, 0)
        open_to = inside & ~seen[rows[:, None], there]
        count = open_to.sum(1)
        pick = draws.below(keys, draws.CARVE_DRAW + k, count)
        rank = open_to.cumsum(1) - 1
        way = xp.cast((open_to & (rank == pick[:, None])), "int64").argmax(1)
        on = count > 0
        back = ~on & (depth > 0)
        new = xp.where(on, there[rows, way], here)
        block = place[here]
        blocks[rows, xp.where(on, block + gaps[way], block)] = FREE
        blocks[rows, place[new]] = FREE
        seen[rows, new] = xp.full((n,), 1, "bool")
        depth = depth + xp.cast(on, "int64") - xp.cast(back, "int64")
        path[rows, depth] = xp.where(on, new, path[rows, depth])


def _open_loops(xp: Arrays, keys: Any, cells: Any, loops: Any, blocks: Any) -> None:
    """Open the set number of closed walls between cells, chosen at random."""
    rows = xp.arange(len(keys))
    edge = np.arange(EDGES)
    x, y = xp.array(CELL_X[edge // 2] + 1 - edge % 2), xp.array(CELL_Y[edge // 2] + edge % 2)
    inside = (x < cells[:, None]) & (y < cells[:, None])
    place = xp.array(EDGE_BLOCK)
    closed = inside & (blocks[rows[:, None], place] != FREE)
    order = _ranked(xp, keys, draws.WALL_DRAW, closed)
    for k in range(int(loops.max()) if len(keys) else 0):
        chosen = place[order[:, k]]
        free = xp.full((len(keys),), FREE, "uint8")
        blocks[rows, chosen] = xp.where(k < loops, free, blocks[rows, chosen])


def _ranked(xp: Arrays, keys: Any, counter: int, allowed: Any) -> Any:
    """Return numbers in a random order ``[n, m]``, the ``allowed`` ones (bool ``[n, m]``) first."""
    number = xp.arange(allowed.shape[1])
    lot = draws.draw(keys[:, None], counter + number) * 256 + number  # no two are equal
    return xp.sort(xp.where(allowed, lot, lot + (1 << 40))) & 255
