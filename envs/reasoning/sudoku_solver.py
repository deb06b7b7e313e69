"""A Sudoku solver and generator, plain or compiled; both give the same grids."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.core.arguments import check_choice
from envs.reasoning import sudoku_search

BACKENDS = ("python", "numba")
MAX_GRIDS = 1_000
"""Full grids dug into before the generator gives up on the wanted number of hidden cells."""


def default_backend() -> str:
    """Return ``numba`` where it is installed and ``python`` elsewhere."""
    return "numba" if importlib.util.find_spec("numba") else "python"


class SudokuSolver:
    """Counts solutions, fills grids and digs puzzles.

    Args:
        box: Side of a box: 2 for 4x4, 3 for 9x9.
        backend: ``python`` or ``numba``.

    Raises:
        ValueError: There is no such backend.
    """

    def __init__(self, box: int = 3, backend: str = "python") -> None:
        self.box, self.size = box, box * box
        self.backend = check_choice("SudokuSolver", "backend", backend, BACKENDS)
        self._search, self._dig = _functions(backend)
        cells = self.size**2
        self._counts = self._sequence([mask.bit_count() for mask in range(1 << self.size)])
        self._level = self._sequence([0.0] * (cells * self.size))
        self._scratch = self._sequence([0] * cells)
        self._work = tuple(self._sequence([0] * cells) for _ in range(6))

    def _sequence(self, values: Any) -> Any:
        """Return numbers as this backend's functions take them."""
        if self.backend == "python":
            return list(values) if isinstance(values, list) else values.tolist()
        array = np.array(values)
        return array if array.dtype == np.float64 else array.astype(np.int64)

    def _solutions(self, cells: np.ndarray, keys: Any, limit: int) -> int:
        """Return how many solutions there are; the last one is in ``_scratch``."""
        given = self._sequence(cells)
        found = self._search(given, self.box, keys, limit, self._counts, self._scratch, self._work)
        return int(found)

    def count(self, cells: np.ndarray, limit: int = 2) -> int:
        """Return how many solutions a puzzle has, counting no further than ``limit``."""
        return self._solutions(cells, self._level, limit)

    def solve(self, cells: np.ndarray) -> np.ndarray | None:
        """Return a solution as int8 ``[size**2]``, or None if there is none."""
        found = self._solutions(cells, self._level, 1)
        return np.array(self._scratch, np.int8) if found else None

    def full(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random full grid as int8 ``[size**2]``.

        A search that tries digits in random order fills it; exchanging rows, columns and digits at
        random then makes all cells alike.
        """
        keys = self._sequence(rng.random(self.size**3))
        self._solutions(np.zeros(self.size**2, np.int8), keys, 1)
        square = np.array(self._scratch, np.int8).reshape(self.size, self.size)
        square = square[self._lines(rng)][:, self._lines(rng)]
        if rng.random() < 0.5:
            square = square.T
        digits = rng.permutation(self.size).astype(np.int8) + 1
        return np.ascontiguousarray(digits[square - 1]).reshape(-1)

    def _lines(self, rng: np.random.Generator) -> np.ndarray:
        bands = rng.permutation(self.box)
        return np.concatenate([band * self.box + rng.permutation(self.box) for band in bands])

    def dug(self, rng: np.random.Generator, grid: np.ndarray, hidden: int) -> np.ndarray | None:
        """Return a puzzle with ``hidden`` empty cells whose only solution is ``grid``.

        Returns:
            Int8 ``[size**2]``, or None if the random order of cells led nowhere.
        """
        cells, order = self._sequence(grid), self._sequence(rng.permutation(self.size**2))
        done = self._dig(
            cells,
            self.box,
            order,
            hidden,
            self._level,
            self._counts,
            self._scratch,
            self._work,
            self._search,
        )
        return np.array(cells, np.int8) if done == hidden else None


@functools.lru_cache(maxsize=2)
def _functions(backend: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if backend == "python":
        return sudoku_search.search, sudoku_search.dig
    from envs.core.numba_cache import kernel

    return kernel()(sudoku_search.search), kernel()(sudoku_search.dig)
