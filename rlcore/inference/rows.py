"""The decode batch as tables, one row a decoding branch, kept up to date in place.

A step advances all rows by whole-array operations; Python touches a row only when something
happens to it: it is seated, gets a block, stops. The runner of a GPU advances a copy of these
tables on the device by the same rule (:meth:`RowTable.advance`), so that a step needs no upload.

Legend: ``R`` rows, ``M`` entries of a row's block list.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.config import SamplingParams

NO_WRITE = -1
"""Slot of a token whose keys and values are in the pool already."""

IDLE, NORMAL, REPLAY = 0, 1, 2
"""``active``: the row is empty; it feeds a new token; it feeds one whose keys are there already."""


class RowTable:
    """Block lists, positions and sampling settings of the rows.

    Args:
        rows: R.
        width: M.
        block_size: Slots of a block.
        vocab_size: Tokens that a repetition penalty tells apart.

    Attributes:
        longs, ints, floats: int64, int32 and float32 ``[3, R]``, of which the first three fields of
            each type are views.
        lists: int32 ``[2, R, M]``, of which ``table`` and ``fill`` are views.
        active: int32 ``[R]``: ``IDLE``, ``NORMAL`` or ``REPLAY``.
        token: int64 ``[R]``, the token that the next step feeds (on a GPU only when seated).
        position: int64 ``[R]``, its position.
        tail: int32 ``[R]``, entry of the block list that is being filled.
        width: int32 ``[R]``, listed entries.
        table, fill: int32 ``[R, M]``, blocks and valid slots of each.
        key: int64 ``[R]``, key of the row's noise.
        temperature, top_p, penalty: float32 ``[R]``; top_k: int32 ``[R]``.
        seen: int32 ``[R, ceil(V / 32)]``, bits of seen tokens; ``None`` until a row has a penalty.
        remaining: int64 ``[R]``, tokens until a budget has to be looked at.
        tenant: int64 ``[R]``, a number that changes whenever a row gets another branch.
        passing: bool ``[R]``, rows that feed one known token and are emptied again, when seated.
    """

    def __init__(self, rows: int, width: int, block_size: int, vocab_size: int) -> None:
        self.block_size = block_size
        self.vocab_size = vocab_size
        # What a GPU gets of a row lies together by type: a few copies bring over all of it.
        self.longs = np.zeros((3, rows), np.int64)
        self.token, self.position, self.key = self.longs
        self.ints = np.zeros((3, rows), np.int32)
        self.active, self.tail, self.top_k = self.ints
        self.floats = np.ones((3, rows), np.float32)
        self.temperature, self.top_p, self.penalty = self.floats
        self.lists = np.zeros((2, rows, width), np.int32)
        self.table, self.fill = self.lists
        self.width = np.zeros(rows, np.int32)
        self.seen: NDArray[np.int32] | None = None
        self.remaining = np.zeros(rows, np.int64)
        self.tenant = np.zeros(rows, np.int64)
        self.passing = np.zeros(rows, np.bool_)
        self._free = list(range(rows))
        self._tenants = 0
        self.seated: set[int] = set()
        """Rows written since the runner last took them."""
        self.emptied: set[int] = set()
        """Rows emptied since."""
        self.grown: list[tuple[int, int, int]] = []
        """(row, entry, block) added since."""
        self.regrouped = False
        """Whether rows came or went, those that pass aside, since somebody set this back."""

    @property
    def free(self) -> int:
        """Rows without a branch."""
        return len(self._free)

    @property
    def taken(self) -> int:
        """Rows that decode or wait for their prefill."""
        return len(self.active) - len(self._free)

    def take(self) -> int:
        """Return the lowest free row: few active rows then fit a small CUDA graph."""
        self._tenants += 1
        row = heapq.heappop(self._free)
        self.tenant[row] = self._tenants
        return row

    def seat(
        self,
        row: int,
        blocks: array[int],
        fills: array[int],
        *,
        token: int,
        position: int,
        replay: bool,
        sampling: SamplingParams,
        key: int,
        passing: bool = False,
    ) -> None:
        """Fill a row that was taken: it decodes from the next step on.

        Args:
            row: Which.
            blocks: The block list, int32.
            fills: Valid slots of each, int32.
            token: What to feed.
            position: Its position.
            replay: Whether its keys and values are in the listed blocks already.
            sampling: How to draw.
            key: Key of the noise.
            passing: Whether it is emptied before it feeds another token.
        """
        count = len(blocks)
        # Behind the list, an empty row's fills are 0 already.
        self.table[row, :count] = np.frombuffer(blocks, np.int32)
        self.fill[row, :count] = np.frombuffer(fills, np.int32)
        self.tail[row], self.width[row] = max(count - 1, 0), count
        self.token[row], self.position[row] = token, position
        self.active[row] = REPLAY if replay else NORMAL
        self.key[row] = key
        self.temperature[row], self.top_k[row] = sampling.temperature, sampling.top_k
        self.top_p[row], self.penalty[row] = sampling.top_p, sampling.repetition_penalty
        self.seated.add(row)
        self.emptied.discard(row)
        self.passing[row] = passing
        self.regrouped |= not passing

    def see(self, row: int, ids: Sequence[int]) -> None:
        """Mark tokens as seen by a row, for its repetition penalty; all others are not."""
        if self.seen is None:
            self.seen = np.zeros((len(self.active), -(-self.vocab_size // 32)), np.int32)
        unique = np.unique(np.asarray(ids, np.int64))
        words = self.seen[row].view(np.uint32)
        words[:] = 0
        np.bitwise_or.at(words, unique // 32, np.uint32(1) << (unique % 32).astype(np.uint32))

    def empty(self, rows: Sequence[int]) -> None:
        """Take the branches off ``rows``."""
        where = np.asarray(rows, np.int64)
        self.active[where] = IDLE
        self.fill[where, : self.width[where].max(initial=0)] = 0
        self.tenant[where] = 0
        self.tail[where] = 0  # a step reads there, and lists may be shorter by then
        self.emptied.update(rows)
        self.seated.difference_update(rows)
        self.regrouped |= not self.passing[where].all()
        for row in rows:
            heapq.heappush(self._free, row)

    def occupied(self) -> NDArray[np.int64]:
        """Return the rows that the next step feeds, ascending."""
        return np.flatnonzero(self.active)

    def starved(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of ``rows`` that need another block before the next step."""
        tail = self.tail[rows]
        full = self.fill[rows, tail] >= self.block_size
        last = tail + 1 >= self.width[rows]
        needy: NDArray[np.int64] = rows[full & last & (self.active[rows] == NORMAL)]
        return needy

    def grow(self, rows: NDArray[np.int64], blocks: NDArray[np.int32]) -> None:
        """List one more block in each of ``rows``."""
        entry = self.width[rows]
        self.table[rows, entry] = blocks
        self.fill[rows, entry] = 0
        self.width[rows] += 1
        self.grown += zip(rows.tolist(), entry.tolist(), blocks.tolist(), strict=True)

    def advance(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give each row's token its slot and return the slots, ``NO_WRITE`` for a replayed one.

        The tokens' positions are then one back: ``position`` is that of the next token.
        """
        writes = self.active[rows] == NORMAL
        tail = self.tail[rows]
        used = self.fill[rows, tail]
        # An empty first entry is filled in place; a full one leads to the next.
        step = (writes & (used >= self.block_size)).astype(np.int32)
        tail += step
        self.tail[rows] = tail
        self.fill[rows, tail] += writes
        slots = (
            self.table[rows, tail].astype(np.int64) * self.block_size + self.fill[rows, tail] - 1
        )
        self.position[rows] += 1
        self.active[rows] = NORMAL
        return np.where(writes, slots, NO_WRITE)
