"""The last steps' tokens, row by row: branches read theirs when something happens to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Column(NamedTuple):
    """What a row drew in consecutive steps, one entry a step."""

    ids: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    raw_log_probs: NDArray[np.float64]
    versions: NDArray[np.int64]

    def first(self, steps: int) -> Column:
        """Return the first ``steps`` steps."""
        if steps >= len(self.ids):
            return self
        ids, log_probs, raw, versions = self
        return Column(ids[:steps], log_probs[:steps], raw[:steps], versions[:steps])


class StepLog:
    """A ring of steps. What a row drew lies together: a step is written once, a row read at once.

    Args:
        rows: Rows of a step.
        steps: How many steps are kept; a row must be read before it falls out.

    Attributes:
        step: Number of the next step to be written.
    """

    def __init__(self, rows: int, steps: int = 1024) -> None:
        self.capacity = steps
        self.step = 0
        # Rows that lie a power of two apart would share their few lines of the processor's cache.
        apart = steps + 8
        self._ids = np.zeros((rows, apart), np.int64)
        self._log_probs = np.zeros((rows, apart), np.float64)
        self._raw = np.zeros((rows, apart), np.float64)
        self._versions = np.zeros(steps, np.int64)

    def write(
        self,
        rows: NDArray[np.int64],
        ids: NDArray[np.int64],
        log_probs: NDArray[np.floating],
        raw_log_probs: NDArray[np.floating],
        version: int,
    ) -> int:
        """Store a step; return its number."""
        place = self.step % self.capacity
        self._ids[rows, place] = ids
        self._log_probs[rows, place] = log_probs
        self._raw[rows, place] = raw_log_probs
        self._versions[place] = version
        self.step += 1
        return self.step - 1

    def read(self, row: int, since: int) -> Column:
        """Return what a row drew from step ``since`` on."""
        first, stop = since % self.capacity, self.step % self.capacity
        steps: slice | NDArray[np.int64] = slice(first, stop)
        if self.step - since > stop - first:  # they go round the end of the ring
            steps = np.arange(since, self.step) % self.capacity
        return Column(
            self._ids[row, steps],
            self._log_probs[row, steps],
            self._raw[row, steps],
            self._versions[steps],
        )
