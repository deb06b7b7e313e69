"""Who holds which block of the KV pool: reference counts and a stack of free blocks.

The pool knows no tensors. A holder is a run of tokens or an entry of the prefix cache; branches
hold runs. A block is free when nobody holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlcore.errors import ConfigError
from rlcore.inference.errors import BlockPoolError, OutOfBlocksError


class BlockPool:
    """Counts the holders of each block.

    Args:
        num_blocks: How many blocks there are.

    Attributes:
        refcount: int32 ``[num_blocks]``, holders of each block.
        peak: Most blocks that were in use at once.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ConfigError(f"a pool wants at least one block, got {num_blocks}")
        self.num_blocks = num_blocks
        self.refcount: NDArray[np.int32] = np.zeros(num_blocks, np.int32)
        # A stack with the lowest index on top: blocks that are taken together follow each other.
        self._free: NDArray[np.int32] = np.arange(num_blocks - 1, -1, -1, dtype=np.int32)
        self._top = num_blocks
        self.peak = 0

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return self._top

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.num_blocks - self._top

    def allocate(self, count: int) -> NDArray[np.int32]:
        """Take ``count`` free blocks, each with one holder.

        Raises:
            OutOfBlocksError: Fewer are free; nothing is taken then.
        """
        if not 0 <= count <= self._top:
            raise OutOfBlocksError(
                f"{count} blocks were asked for, {self._top} of {self.num_blocks} are free"
            )
        taken = self._free[self._top - count : self._top][::-1].copy()
        self._top -= count
        self.refcount[taken] = 1
        self.peak = max(self.peak, self.used)
        return taken

    def hold(self, blocks: Sequence[int] | NDArray[np.int32]) -> None:
        """Add one holder to each of ``blocks``.

        Raises:
            BlockPoolError: One of them is free or not of this pool; nothing is changed then.
        """
        index = self._checked(blocks)
        if (self.refcount[index] < 1).any():
            raise BlockPoolError(f"blocks {self._offenders(index, 1)} are free: nothing to share")
        np.add.at(self.refcount, index, 1)

    def release(self, blocks: Sequence[int] | NDArray[np.int32]) -> None:
        """Take one holder from each of ``blocks``; those without any become free.

        Raises:
            BlockPoolError: A block has fewer holders than releases; nothing is changed then.
        """
        index = self._checked(blocks)
        unique, times = np.unique(index, return_counts=True)
        if (self.refcount[unique] < times).any():
            wrong = unique[self.refcount[unique] < times][:8].tolist()
            raise BlockPoolError(f"blocks {wrong} were released more often than they were held")
        self.refcount[unique] -= times.astype(np.int32)
        freed = unique[self.refcount[unique] == 0]
        self._free[self._top : self._top + len(freed)] = freed[::-1]
        self._top += len(freed)

    def _checked(self, blocks: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int64]:
        index = np.asarray(blocks, np.int64)
        if index.size and not (index.min() >= 0 and index.max() < self.num_blocks):
            raise BlockPoolError(
                f"block indices must lie in 0..{self.num_blocks - 1}, got "
                f"{index.min()}..{index.max()}"
            )
        return index

    def _offenders(self, index: NDArray[np.int64], least: int) -> list[int]:
        wrong: list[int] = index[self.refcount[index] < least][:8].tolist()
        return wrong

    def check(self) -> None:
        """Raise ``BlockPoolError`` unless counts and free stack describe the same state."""
        free = self._free[: self._top]
        held = int((self.refcount > 0).sum())
        if (self.refcount < 0).any() or held != self.used:
            raise BlockPoolError(f"{held} blocks are held, the free stack says {self.used}")
        if len(np.unique(free)) != len(free) or (self.refcount[free] != 0).any():
            raise BlockPoolError("the free stack lists a block twice, or one that is held")
