"""Who holds which block of the KV pool: reference counts and a stack of free blocks.

The pool knows no tensors. A holder is a run of tokens or an entry of the prefix cache; branches
hold runs. A block is free when nobody holds it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlcore.errors import ConfigError
from rlcore.inference.errors import BlockPoolError, OutOfBlocksError


class BlockPool:
    """Counts the holders of each block.

    Few blocks change hands at a time, so they are counted one by one: for a dozen, operations on
    arrays take longer.

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
        self._counts = array("i", bytes(4 * num_blocks))
        self.refcount: NDArray[np.int32] = np.frombuffer(self._counts, np.int32)  # same memory
        # A stack with the lowest index on top: blocks that are taken together follow each other.
        self._free = list(range(num_blocks - 1, -1, -1))
        self.peak = 0

    @property
    def free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.num_blocks - len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take ``count`` free blocks, each with one holder.

        Raises:
            OutOfBlocksError: Fewer are free; nothing is taken then.
        """
        left = len(self._free) - count
        if count < 0 or left < 0:
            raise OutOfBlocksError(
                f"{count} blocks were asked for, {self.free} of {self.num_blocks} are free"
            )
        taken = self._free[left:]
        del self._free[left:]
        taken.reverse()
        for block in taken:
            self._counts[block] = 1
        self.peak = max(self.peak, self.used)
        return taken

    def hold(self, blocks: Sequence[int]) -> None:
        """Add one holder to each of ``blocks``.

        Raises:
            BlockPoolError: One of them is free or not of this pool; nothing is changed then.
        """
        self._check_indices(blocks)
        wrong = [block for block in blocks if self._counts[block] < 1]
        if wrong:
            raise BlockPoolError(f"blocks {wrong[:8]} are free: nothing to share")
        for block in blocks:
            self._counts[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """Take one holder from each of ``blocks``; those without any become free.

        Raises:
            BlockPoolError: A block has fewer holders than releases; nothing is changed then.
        """
        self._check_indices(blocks)
        counts = self._counts
        freed = []
        for block in blocks:
            left = counts[block] - 1
            counts[block] = left
            if left <= 0:
                freed.append(block)
        wrong = sorted({block for block in freed if counts[block] < 0})
        if wrong:
            for block in blocks:
                counts[block] += 1
            raise BlockPoolError(f"blocks {wrong[:8]} were released more often than they were held")
        freed.sort(reverse=True)
        self._free += freed

    def _check_indices(self, blocks: Sequence[int]) -> None:
        if len(blocks) and not (min(blocks) >= 0 and max(blocks) < self.num_blocks):
            raise BlockPoolError(
                f"block indices must lie in 0..{self.num_blocks - 1}, got "
                f"{min(blocks)}..{max(blocks)}"
            )

    def check(self) -> None:
        """Raise ``BlockPoolError`` unless counts and free stack describe the same state."""
        free = np.asarray(self._free, np.int64)
        held = int((self.refcount > 0).sum())
        if (self.refcount < 0).any() or held != self.used:
            raise BlockPoolError(f"{held} blocks are held, the free stack says {self.used}")
        if len(np.unique(free)) != len(free) or (self.refcount[free] != 0).any():
            raise BlockPoolError("the free stack lists a block twice, or one that is held")
