"""Prompts as CUDA graphs: a pass over few known tokens takes the host longer than the device.

A pass is padded to a shape from a short list, so that the shapes come again. A shape's graph is
captured when it comes for the second time: the first pass of it runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlcore.inference.prefill import PrefillBatch
from rlcore.inference.rows import NO_WRITE
from rlcore.ops.attention.paged import PagedBatch

MOST_TOKENS = 4096
"""Longer passes keep the device busy for longer than they take the host."""
MOST_GRAPHS = 64
"""Shapes that are captured at most: others are run as they are."""

Put = Callable[[NDArray[Any]], Tensor]
Pass = Callable[[Tensor, Tensor, PagedBatch], None]


class PrefillShape(NamedTuple):
    """What the graph of a pass depends on; all powers of two.

    Attributes:
        tokens: N.
        chunks: R.
        width: M, blocks of the longest list.
        longest: Tokens of the longest chunk.
    """

    tokens: int
    chunks: int
    width: int
    longest: int

    @classmethod
    def around(cls, batch: PrefillBatch) -> PrefillShape:
        """Return the smallest shape that a batch fits into."""
        chunks, width = batch.table.shape
        return cls(
            _power_of_two(len(batch.ids), 16),
            _power_of_two(chunks, 1),
            _power_of_two(width, 8),
            _power_of_two(batch.max_query, 16),
        )


class Graph(Protocol):
    """What can be run again on the same tensors."""

    def replay(self) -> None:
        """Run it."""
        ...


@dataclass(frozen=True, eq=False)
class _Captured:
    longs: Tensor  # ids, positions and slots, int64 [3, N]
    ints: Tensor  # starts, table and fill, int32, one behind the other
    graph: Graph


class PrefillGraphs:
    """Runs passes over known tokens.

    Args:
        forward: Computes keys and values of ids ``[N]`` at positions ``[N]``; only device work.
        put: Brings an array to the device.
        capture: Records a call as a graph.
    """

    def __init__(
        self, forward: Pass, put: Put, capture: Callable[[Callable[[], None]], Graph]
    ) -> None:
        self._forward, self._put, self._capture = forward, put, capture
        self._met: set[PrefillShape] = set()
        self._captured: dict[PrefillShape, _Captured] = {}

    @property
    def shapes(self) -> list[PrefillShape]:
        """The shapes whose graphs exist."""
        return list(self._captured)

    def run(self, batch: PrefillBatch) -> None:
        """Compute a batch; return at once."""
        shape = PrefillShape.around(batch)
        if shape not in self._captured and not self._comes_again(shape):
            ids, positions, slots, starts, table, fill = map(self._put, batch.arrays())
            seen = PagedBatch(starts, table, fill, slots, batch.max_query, table.shape[1])
            self._forward(ids, positions, seen)
            return
        longs, ints = (self._put(array) for array in padded(batch, shape))
        if shape not in self._captured:
            self._captured[shape] = self._record(shape, longs, ints)
        kept = self._captured[shape]
        kept.longs.copy_(longs)
        kept.ints.copy_(ints)
        kept.graph.replay()

    def _comes_again(self, shape: PrefillShape) -> bool:
        """Return whether a shape without a graph is to have one: not when it first comes."""
        if shape.tokens > MOST_TOKENS or len(self._captured) >= MOST_GRAPHS:
            return False
        met = shape in self._met
        self._met.add(shape)
        return met

    def _record(self, shape: PrefillShape, longs: Tensor, ints: Tensor) -> _Captured:
        """Capture the pass over tensors that stay; to run it more than once changes nothing."""
        longs, ints = longs.clone(), ints.clone()
        entries = shape.chunks * shape.width
        starts, table, fill = ints.split((shape.chunks + 1, entries, entries))  # type: ignore[no-untyped-call]
        lists = [x.view(shape.chunks, shape.width) for x in (table, fill)]

        def work() -> None:
            # A new batch each time: backends keep what they derive from one in it.
            seen = PagedBatch(
                starts, lists[0], lists[1], longs[2],
                max_query=shape.longest, max_blocks=shape.width,
            )  # fmt: skip
            self._forward(longs[0], longs[1], seen)

        graph = self._capture(work)
        return _Captured(longs, ints, graph)


def padded(batch: PrefillBatch, shape: PrefillShape) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return a batch as two arrays of a shape: int64 ``[3, N]``, and all of int32 in one row.

    What is added belongs to no chunk, and its keys and values are not written.
    """
    tokens = len(batch.ids)
    longs = np.zeros((3, shape.tokens), np.int64)
    longs[2] = NO_WRITE
    longs[0, :tokens], longs[1, :tokens], longs[2, :tokens] = (
        batch.ids, batch.positions, batch.slots,
    )  # fmt: skip
    starts = np.full(shape.chunks + 1, tokens, np.int32)
    starts[: len(batch.starts)] = batch.starts
    lists = np.zeros((2, shape.chunks, shape.width), np.int32)
    chunks, width = batch.table.shape
    lists[0, :chunks, :width], lists[1, :chunks, :width] = batch.table, batch.fill
    return longs, np.concatenate([starts, lists.reshape(-1)])


def _power_of_two(number: int, least: int) -> int:
    return max(least, 1 << max(number - 1, 0).bit_length())
