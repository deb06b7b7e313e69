"""Mazes compiled, for ``backend="numba"``: the walk of :mod:`envs.labyrinth.maze`, row by row."""

from __future__ import annotations

import numpy as np

from envs.core.numba_cache import kernel
from envs.labyrinth import draws
from envs.labyrinth.draws import (
    CARVE_DRAW,
    CELL_DRAW,
    HEADING_DRAW,
    SIGN_DRAW,
    SIZE_DRAW,
    WALL_DRAW,
    ZONE_DRAW,
)
from envs.labyrinth.maze import (
    CELL_BLOCK,
    CELLS,
    EDGE_BLOCK,
    EDGES,
    MATERIALS,
    SIGN_SHARE,
    SIGNS,
    ZONE_BITS,
    MazeRules,
    Mazes,
)
from envs.labyrinth.units import APPLE, FREE, HEADINGS, MAX_CELLS, PORTAL, SIDE

MASK, LAST_FACTOR = draws.MASK, 0x846CA68B - (1 << 32)


def make_mazes(keys: np.ndarray, rules: MazeRules) -> Mazes:
    """Return the maze of each key; see :func:`envs.labyrinth.maze.make_mazes`."""
    n = len(keys)
    mazes = Mazes(np.empty((n, SIDE * SIDE), np.uint8), *np.empty((3, n), np.int64))
    sizes = rules.cells_min, rules.cells_max - rules.cells_min + 1
    make_all(keys, sizes, rules.counts(), mazes.blocks, mazes.cells, mazes.start, mazes.heading)
    return mazes


@kernel(nogil=True)
def _draw(key, counter):  # type: ignore[no-untyped-def]
    mixed = (key + counter * 0x9E3779B9) & MASK
    mixed ^= mixed >> 16
    mixed = (mixed * 0x7FEB352D) & MASK
    mixed ^= mixed >> 15
    mixed = (mixed * LAST_FACTOR) & MASK
    return mixed ^ (mixed >> 16)


@kernel(nogil=True)
def _below(key, counter, limit):  # type: ignore[no-untyped-def]
    return (_draw(key, counter) * limit) >> 32


@kernel(nogil=True)
def make_all(keys, sizes, counts, blocks, cells, start, heading):  # type: ignore[no-untyped-def]
    """Fill the arrays with the maze of each key."""
    for k in range(len(keys)):
        key = np.int64(keys[k])
        across = sizes[0] + _below(key, SIZE_DRAW, sizes[1])
        cells[k], heading[k] = across, _below(key, HEADING_DRAW, HEADINGS)
        _texture(key, blocks[k])
        _carve(key, across, blocks[k])
        _open_loops(key, across, counts[across, 0], blocks[k])
        start[k] = _place(key, across, counts[across, 1], blocks[k])


@kernel(nogil=True)
def _texture(key, blocks):  # type: ignore[no-untyped-def]
    for number in range(SIDE * SIDE):
        chance = _below(key, SIGN_DRAW + number, SIGNS * SIGN_SHARE)
        if chance < SIGNS:
            blocks[number] = 1 + MATERIALS + chance
        else:
            zone = (number // SIDE >> ZONE_BITS) * 8 + (number % SIDE >> ZONE_BITS)
            blocks[number] = 1 + _below(key, ZONE_DRAW + zone, MATERIALS)


@kernel(nogil=True)
def _carve(key, across, blocks):  # type: ignore[no-untyped-def]
    path, seen = np.zeros(CELLS, np.int64), np.zeros(CELLS, np.bool_)
    path[0] = across // 2 * (MAX_CELLS + 1)
    seen[path[0]] = True
    blocks[CELL_BLOCK[path[0]]] = FREE
    depth, gaps = 0, (1, SIDE, -1, -SIDE)
    ways, cells = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for k in range(2 * across * across - 2):
        here, count = path[depth], 0
        x, y = here % MAX_CELLS, here // MAX_CELLS
        for way in range(4):
            to_x = x + (1 if way == 0 else -1 if way == 2 else 0)
            to_y = y + (1 if way == 1 else -1 if way == 3 else 0)
            there = to_y * MAX_CELLS + to_x
            if 0 <= to_x < across and 0 <= to_y < across and not seen[there]:
                ways[count], cells[count] = way, there
                count += 1
        if count == 0:
            depth -= 1
            continue
        pick = _below(key, CARVE_DRAW + k, count)
        blocks[CELL_BLOCK[here] + gaps[ways[pick]]] = FREE
        blocks[CELL_BLOCK[cells[pick]]] = FREE
        seen[cells[pick]] = True
        depth += 1
        path[depth] = cells[pick]


@kernel(nogil=True)
def _open_loops(key, across, loops, blocks):  # type: ignore[no-untyped-def]
    lots, count = np.empty(EDGES, np.int64), 0
    for edge in range(EDGES):
        x = edge // 2 % MAX_CELLS + 1 - edge % 2
        y = edge // 2 // MAX_CELLS + edge % 2
        if x < across and y < across and blocks[EDGE_BLOCK[edge]] != FREE:
            lots[count] = _draw(key, WALL_DRAW + edge) * 256 + edge
            count += 1
    order = np.sort(lots[:count])
    for k in range(loops):
        blocks[EDGE_BLOCK[order[k] & 255]] = FREE


@kernel(nogil=True)
def _place(key, across, apples, blocks):  # type: ignore[no-untyped-def]
    """Set portal and apples; return the player's cell."""
    lots, count = np.empty(CELLS, np.int64), 0
    for cell in range(CELLS):
        if cell % MAX_CELLS < across and cell // MAX_CELLS < across:
            lots[count] = _draw(key, CELL_DRAW + cell) * 256 + cell
            count += 1
    order = np.sort(lots[:count])
    blocks[CELL_BLOCK[order[0] & 255]] = PORTAL
    for k in range(apples):
        blocks[CELL_BLOCK[order[2 + k] & 255]] = APPLE
    return order[1] & 255
