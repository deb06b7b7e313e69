"""The packed batch of known tokens whose keys and values a step computes."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.branches import Stretch
from rlcore.inference.kv_store import block_list


class Chunk(NamedTuple):
    """A part of a stretch that one step computes.

    Attributes:
        ids: Its tokens.
        position: Position of the first.
        places: (block, first slot, count) of where their keys and values go.
        blocks, fills: What the last of them sees, itself included.
    """

    ids: array[int]
    position: int
    places: list[tuple[int, int, int]]
    blocks: array[int]
    fills: array[int]

    def riders(self) -> Iterator[Rider]:
        """Yield each token as a row of a decode step could feed it, in order."""
        tokens = zip(self.ids, itertools.count(self.position), strict=False)
        entry = 0
        for block, first, count in self.places:
            entry = self.blocks.index(block, entry)
            for slot in range(first, first + count):
                token, position = next(tokens)
                fills = self.fills[:entry]
                fills.append(slot)
                yield Rider(token, position, self.blocks[: entry + 1], fills)

    @classmethod
    def of(cls, stretch: Stretch, first: int, places: list[tuple[int, int, int]]) -> Chunk:
        """Describe the tokens of ``stretch`` from ``first`` on that were just given ``places``."""
        count = sum(place[2] for place in places)
        blocks, fills = block_list([*stretch.sees, stretch])
        return cls(stretch.ids[first : first + count], stretch.start + first, places, blocks, fills)


class Rider(NamedTuple):
    """A known token whose keys and values a row of a decode step can compute.

    Attributes:
        token: The token.
        position: Its position.
        blocks: What it sees, up to the block that it is written into.
        fills: Valid slots of each before it is written.
    """

    token: int
    position: int
    blocks: array[int]
    fills: array[int]


@dataclass(frozen=True, eq=False)
class PrefillBatch:
    """Chunks as arrays; ``N`` tokens, ``R`` chunks, ``M`` blocks of the longest list.

    Attributes:
        ids, positions, slots: int64 ``[N]``.
        starts: int32 ``[R + 1]``.
        table, fill: int32 ``[R, M]``.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]
    starts: NDArray[np.int32]
    table: NDArray[np.int32]
    fill: NDArray[np.int32]

    @classmethod
    def of(cls, chunks: Sequence[Chunk], block_size: int) -> PrefillBatch:
        """Pack chunks."""
        counts = [len(chunk.ids) for chunk in chunks]
        widths = np.asarray([len(chunk.blocks) for chunk in chunks])
        listed = np.arange(widths.max()) < widths[:, None]
        table, fill = np.zeros((2, *listed.shape), np.int32)
        table[listed] = np.frombuffer(b"".join([chunk.blocks for chunk in chunks]), np.int32)
        fill[listed] = np.frombuffer(b"".join([chunk.fills for chunk in chunks]), np.int32)
        places = [place for chunk in chunks for place in chunk.places]
        return cls(
            ids=np.frombuffer(bytearray().join([chunk.ids for chunk in chunks]), np.int64),
            positions=_ranges([chunk.position for chunk in chunks], counts),
            slots=_ranges(
                [block * block_size + slot for block, slot, _ in places],
                [count for _, _, count in places],
            ),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            table=table,
            fill=fill,
        )

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return ids, positions, slots, starts, table and fill."""
        return self.ids, self.positions, self.slots, self.starts, self.table, self.fill

    @property
    def max_query(self) -> int:
        """Tokens of the longest chunk."""
        return int(np.diff(self.starts).max())


def _ranges(starts: Sequence[int], counts: Sequence[int]) -> NDArray[np.int64]:
    """Return ``starts[i], starts[i] + 1, ...`` of each range, one after the other."""
    begins = np.repeat(np.asarray(starts, np.int64), counts)
    offsets = np.arange(len(begins)) - np.repeat(np.cumsum(counts) - counts, counts)
    return begins + offsets
