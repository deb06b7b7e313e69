"""Which rows begin with the same blocks, so that a decode step reads those once for all of them.

Branches of a fork, samples of a prompt and requests with one system prompt list the same blocks
first. Rows are sorted by their lists; a run of neighbours makes one group, or several deeper ones,
whichever saves more. What a group shares is cut into pieces for as many programs as a GPU wants.

Legend: ``R`` rows, ``M`` entries of a block list, ``P`` pieces, ``W`` members of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.rows import RowTable

MEMBERS = 16
"""W: a larger group is divided."""
PIECES = 128
"""P: what is left over is read row by row."""
MOST_PIECES = 16
"""Pieces of a group."""
LEAST_TOKENS = 64
"""Tokens of a piece, unless the group shares less."""
PROGRAMS = 528
"""Pieces times key heads that keep a GPU busy: four a multiprocessor."""
WORTH_TOKENS = 4096
"""Where fewer tokens need not be read again, the further kernel costs more than it saves."""


class Group(NamedTuple):
    """Neighbours ``low <= i < high`` of the sorted rows and the entries that all of them share."""

    low: int
    high: int
    entries: int

    @property
    def saved(self) -> int:
        """Entries that need not be read again."""
        count = self.high - self.low
        return (count - -(-count // MEMBERS)) * self.entries


class _Run(NamedTuple):
    """Neighbours from ``low`` on that share ``entries``, and the groups found among them so far."""

    low: int
    entries: int
    inner: list[Group]


@dataclass(frozen=True, eq=False)
class Pieces:
    """The numbers of a :class:`~rlcore.ops.attention.paged.SharedPrefix`, on the host.

    Attributes:
        members: int32 ``[P, W]``.
        bounds: int32 ``[P, 2]``.
        place: int32 ``[P]``.
        skip: int32 ``[R]``.
        pieces: int32 ``[R]``.
    """

    members: NDArray[np.int32]
    bounds: NDArray[np.int32]
    place: NDArray[np.int32]
    skip: NDArray[np.int32]
    pieces: NDArray[np.int32]


def shared_pieces(rows: RowTable, occupied: NDArray[np.int64], kv_heads: int) -> Pieces | None:
    """Return what rows share, or ``None`` where that is not worth a kernel of its own.

    Args:
        rows: The host's tables. The last entry of a list may still be filled: it is not shared.
        occupied: int64 ``[n]``, the rows that decode.
        kv_heads: Key heads of the model.
    """
    longest = int(rows.width[occupied].max(initial=0))
    if len(occupied) * longest * rows.block_size < WORTH_TOKENS:
        return None
    order, common = _sorted_rows(rows, occupied)
    found = _groups(common)
    if sum(group.saved for group in found) * rows.block_size < WORTH_TOKENS:
        return None
    low, high, entries = np.array(_divided(found), np.int64).T
    least = max(LEAST_TOKENS // rows.block_size, 1)
    size = _piece_size(entries, max(PROGRAMS // kv_heads, 1), least)
    counts = -(-entries // size)
    group = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = low[:, None] + np.arange(MEMBERS)
    members = np.where(index < high[:, None], order[np.minimum(index, len(order) - 1)], -1)

    made = Pieces(
        np.full((PIECES, MEMBERS), -1, np.int32),
        np.zeros((PIECES, 2), np.int32),
        np.zeros(PIECES, np.int32),
        np.zeros(len(rows.active), np.int32),
        np.zeros(len(rows.active), np.int32),
    )
    made.members[: len(group)] = members[group]
    made.bounds[: len(group), 0] = place * size[group]
    made.bounds[: len(group), 1] = np.minimum((place + 1) * size[group], entries[group])
    made.place[: len(group)] = place
    for numbers, values in ((made.skip, entries), (made.pieces, counts)):
        numbers[members[members >= 0]] = np.repeat(values, high - low)
    return made


def _sorted_rows(
    rows: RowTable, occupied: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[int]]:
    """Return rows in the order of their lists, and what each shares with the one before it.

    Rows whose first block is no other's are left out.
    """
    occupied = occupied[rows.width[occupied] > 1]
    by_first = occupied[np.argsort(rows.table[occupied, 0])]
    first = rows.table[by_first, 0]
    accompanied = np.zeros(len(first), np.bool_)
    for part in (accompanied[1:], accompanied[:-1]):
        part |= first[1:] == first[:-1]
    chosen = by_first[accompanied]
    if len(chosen) == 0:
        return chosen, []
    width = int(rows.width[chosen].max())
    # Blocks and fills as one number; what is not shared is another in each row.
    lists = rows.table[chosen, :width].astype(np.int64) << 32 | rows.fill[chosen, :width]
    own = np.arange(width) >= rows.width[chosen, None] - 1
    lists = np.where(own, -1 - chosen[:, None], lists)
    sort = np.argsort(lists.view(f"V{8 * width}")[:, 0])
    lists = lists[sort]
    return chosen[sort], [0, *(lists[1:] != lists[:-1]).argmax(1).tolist()]


def _groups(common: list[int]) -> list[Group]:
    """Return the groups among sorted rows that save most: of each run one, or those of its parts.

    Runs are closed from the deepest outwards, with a stack: rows of which each goes on from the one
    before are nested as deep as there are rows.
    """
    runs = [_Run(0, 0, [])]
    for high in range(1, len(common) + 1):
        entries = common[high] if high < len(common) else 0
        low = high - 1
        inner: list[Group] = []
        while runs[-1].entries > entries:
            run = runs.pop()
            one, parts = Group(run.low, high, run.entries), run.inner + inner
            low = run.low
            inner = parts if sum(group.saved for group in parts) > one.saved else [one]
        if runs[-1].entries < entries:
            runs.append(_Run(low, entries, inner))
        else:
            runs[-1].inner.extend(inner)
    return runs[0].inner


def _divided(groups: list[Group]) -> list[Group]:
    """Return groups of at most ``MEMBERS``, those that save most, at most ``PIECES``."""
    small = [
        Group(low, min(low + MEMBERS, group.high), group.entries)
        for group in groups
        for low in range(group.low, group.high, MEMBERS)
        if low + 1 < group.high  # a row that is left alone saves nothing
    ]
    return sorted(small, key=lambda group: group.saved, reverse=True)[:PIECES]


def _piece_size(entries: NDArray[np.int64], wanted: int, least: int) -> NDArray[np.int64]:
    """Return the entries of each group's pieces: about ``wanted`` pieces, at most ``PIECES``."""
    size = max(-(-int(entries.sum()) // wanted), least)
    while True:
        sizes = np.maximum(size, -(-entries // MOST_PIECES))
        if (-(-entries // sizes)).sum() <= PIECES:
            return np.asarray(sizes)
        size *= 2
