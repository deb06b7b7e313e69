"""The prefix cache: blocks of computed keys and values, found by what they were computed from.

A segment is the content of one block: an immutable stretch of tokens at a position, after parents.
Its key chains everything that its keys and values depend on::

    key = H(weights version, parents' keys in order, start position, ids)

so equal keys mean equal values, up to the rounding of kernels. Segments form a directed acyclic
graph, not a radix tree over text: a branch does not see the tokens that precede it in a flat text,
and after a join a segment has several parents.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from struct import pack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.errors import BlockPoolError
from rlcore.inference.pool import BlockPool

Key = bytes


def segment_key(version: int, parents: Sequence[Key], start: int, ids: Sequence[int]) -> Key:
    """Return the 16-byte key of a segment.

    Args:
        version: Version of the weights that computed it.
        parents: Keys of what comes before: none at the start of a prompt, one in a sequence, one a
            branch after a join.
        start: Position of the first token.
        ids: Its tokens.
    """
    header = pack("qqqq", version, len(parents), start, len(ids))
    tokens = ids if isinstance(ids, array) else array("q", ids)
    return blake2b(b"".join((header, *parents, tokens)), digest_size=16).digest()


class Segment(NamedTuple):
    """What the cache knows about one block.

    Attributes:
        key: See :func:`segment_key`.
        block: Index in the pool.
        length: How many of its slots are filled, from the first on.
    """

    key: Key
    block: int
    length: int


class SegmentCache:
    """Keeps blocks alive after their last user, and gives them up oldest first.

    Each entry is one holder of its block. Only a block that nobody else holds can be taken back.
    """

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self._segments: OrderedDict[Key, Segment] = OrderedDict()
        self._entries: NDArray[np.int32] = np.zeros(pool.num_blocks, np.int32)
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._segments)

    def __contains__(self, key: Key) -> bool:
        return key in self._segments

    def insert(self, key: Key, block: int, length: int) -> bool:
        """Keep a computed block; return whether the key was new.

        The block may get more slots filled behind ``length`` later, but these must not change.
        """
        if key in self._segments:
            self._segments.move_to_end(key)
            return False
        self.pool.hold([block])
        self._segments[key] = Segment(key, block, length)
        self._entries[block] += 1
        return True

    def find(self, key: Key) -> Segment | None:
        """Return the segment of a key and mark it as used just now; the caller holds its block."""
        segment = self._segments.get(key)
        if segment is None:
            self.misses += 1
            return None
        self.hits += 1
        self._segments.move_to_end(key)
        return segment

    @property
    def blocks(self) -> list[int]:
        """The blocks that entries hold, each once."""
        held: list[int] = np.flatnonzero(self._entries).tolist()
        return held

    def evictable(self) -> int:
        """Return how many blocks only the cache holds."""
        only = (self._entries > 0) & (self.pool.refcount == self._entries)
        return int(np.count_nonzero(only))

    def evict(self, wanted: int) -> int:
        """Give up the longest unused blocks until ``wanted`` are freed; return how many were."""
        before = self.pool.free
        for key in list(self._segments):
            if self.pool.free - before >= wanted:
                break
            block = self._segments[key].block
            if self.pool.refcount[block] == self._entries[block]:
                self._remove(key)
        return self.pool.free - before

    def clear(self) -> None:
        """Give up every entry."""
        for key in list(self._segments):
            self._remove(key)

    def _remove(self, key: Key) -> None:
        segment = self._segments.pop(key)
        self.pool.release([segment.block])
        self._entries[segment.block] -= 1
        if self._entries[segment.block] < 0:
            raise BlockPoolError(f"the cache gave up block {segment.block} twice")
        self.evictions += 1
