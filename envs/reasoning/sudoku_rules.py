"""Sudoku grids of ``box**2`` digits: validity of many at once, and the symmetries of a grid."""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=4)
def units(box: int) -> np.ndarray:
    """Return the cells of every row, column and box as int64 ``[3 * size, size]``."""
    size = box * box
    cells = np.arange(size * size).reshape(size, size)
    boxes = cells.reshape(box, box, box, box).transpose(0, 2, 1, 3).reshape(size, size)
    return np.concatenate([cells, cells.T, boxes])


def valid(grids: np.ndarray, box: int) -> np.ndarray:
    """Return whether each grid has every digit once in every row, column and box.

    Args:
        grids: Integers ``[n, size**2]`` row by row; anything outside ``1..size`` is invalid.
        box: Side of a box; ``size`` is its square.

    Returns:
        Bool ``[n]``.
    """
    size = box * box
    inside = np.asarray(((grids >= 1) & (grids <= size)).all(1))
    bits = np.left_shift(1, np.where(inside[:, None], grids, 0).astype(np.int16))
    # Whole rows of grids are gathered and joined: a reduction over nine neighbours is slow.
    seen = np.bitwise_or.reduce(np.ascontiguousarray(bits.T)[units(box).T], 0)
    return np.asarray(inside & (seen == (1 << (size + 1)) - 2).all(0))


def symmetric_grids(rng: np.random.Generator, n: int, box: int = 3) -> np.ndarray:
    """Return ``n`` full grids from the symmetry group of one base grid.

    Digits are relabelled; bands, stacks, rows in a band and columns in a stack are permuted; half
    of the grids are transposed. Quick, and all of one equivalence class: data for generative
    models, not puzzles.

    Returns:
        Uint8 ``[n, size**2]``.
    """
    size = box * box
    row, column = np.indices((size, size))
    base = (box * (row % box) + row // box + column) % size
    rows, columns = _line_orders(rng, n, box), _line_orders(rng, n, box)
    grids = base[rows[:, :, None], columns[:, None, :]]
    swapped = rng.random(n) < 0.5
    grids[swapped] = grids[swapped].transpose(0, 2, 1)
    labels = rng.permuted(np.tile(np.arange(1, size + 1, dtype=np.uint8), (n, 1)), axis=1)
    return np.asarray(np.take_along_axis(labels, grids.reshape(n, -1), 1))


def _line_orders(rng: np.random.Generator, n: int, box: int) -> np.ndarray:
    """Return random orders ``[n, size]`` of lines that keep bands together."""
    bands = rng.permuted(np.tile(np.arange(box), (n, 1)), axis=1)
    within = rng.permuted(np.tile(np.arange(box), (n, box, 1)), axis=2)
    return np.asarray((bands[:, :, None] * box + within).reshape(n, -1))


def as_text(grid: np.ndarray) -> str:
    """Return digits row by row, 0 for an empty cell."""
    return "".join(map(str, grid.tolist()))


def as_cells(text: str) -> np.ndarray:
    """Return the digits of a text as int8 ``[len(text)]``."""
    return np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int8) - 48
