"""A stream that reads a data set: it fills fragments with rows, in an order fixed by their numbers.

Round ``k`` of an experiment with ``R`` rows an update takes the rows ``k R`` to ``(k + 1) R - 1``;
each stream reads its share. Nothing is carried from one round to the next, so that going on from a
checkpoint, with any number of actors and streams, reads on at exactly the next row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlcore.data.ring import Arrays
from rlcore.data.seeding import derive_seed
from rlcore.errors import CheckpointError
from rlcore.runtime.actor import StreamState
from rlcore.runtime.contracts import RowSource

_NOISE_BITS = 62


class RowPlayer:
    """One stream of a data set.

    Args:
        index: Which stream.
        streams: Streams in all.
        source: The rows.
        seed: The run's seed.
    """

    def __init__(self, index: int, streams: int, source: RowSource, seed: int) -> None:
        self.index = index
        self.streams = streams
        self.source = source
        self.seed = seed

    def play(
        self, slot: int, arrays: Arrays, version: int, round_: int, beat: Callable[[], None]
    ) -> tuple[int, int]:
        """Fill one fragment with its rows; return the tokens in it, and no padded rows."""
        rows = len(arrays["noise"])
        first = self.index * rows
        noise = derive_seed(self.seed, "noise", round_) >> (63 - _NOISE_BITS)
        arrays["noise"][:] = noise + first + np.arange(rows)
        tokens = self.source.read(round_ * rows * self.streams + first, arrays)
        beat()
        return tokens, 0

    def get_state(self) -> StreamState:
        """Return which data the stream reads; the round says where."""
        return {"json": {"env": {"data": self.source.fingerprint}}, "arrays": {}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Check that the data is still the same.

        Raises:
            CheckpointError: It is not: the rows to come would be others.
        """
        saved = state["json"]["env"]
        found = saved.get("data") if isinstance(saved, Mapping) else None
        if found != self.source.fingerprint:
            raise CheckpointError(
                f"the data set has changed: the checkpoint was made with {found!r}, it is now "
                f"{self.source.fingerprint!r}"
            )

    def close(self) -> None:
        """Nothing is held open."""
