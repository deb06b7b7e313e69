"""Where stretches get their blocks from, and give them back to: the pool and the prefix cache."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from rlcore.inference.branches import Stretch
from rlcore.inference.config import EngineConfig
from rlcore.inference.pool import BlockPool
from rlcore.inference.segments import SegmentCache


class KVStore:
    """Gives blocks to stretches, finds those that were computed before, takes them back.

    Args:
        num_blocks: Blocks of the pool.
        config: Block size and what is cached.

    Attributes:
        version: Version of the weights that compute what comes next.
    """

    def __init__(self, num_blocks: int, config: EngineConfig, version: int = 0) -> None:
        self.block_size = config.block_size
        self.config = config
        self.pool = BlockPool(num_blocks)
        self.cache = SegmentCache(self.pool)
        self.version = version
        self._mixed = 0

    def available(self) -> int:
        """Return how many blocks can be had: free ones and those that only the cache holds."""
        return self.pool.free + self.cache.evictable()

    def make_free(self, count: int) -> bool:
        """Evict cached blocks until ``count`` are free; return whether they are."""
        if self.pool.free < count:
            self.cache.evict(count - self.pool.free)
        return self.pool.free >= count

    def borrow(self, stretch: Stretch, tail: bool = True) -> None:
        """Begin a cold stretch with the blocks that the cache has of it.

        Args:
            stretch: Has no blocks.
            tail: Whether a last block that is not full is taken too; what is added to the stretch
                then begins a block of its own.
        """
        stretch.version = self.version
        if not self.config.prefix_cache or not all(p.complete for p in stretch.parents):
            return
        done, target = 0, stretch.target
        least = 1 if tail or stretch.closed else self.block_size
        while target - done >= least:
            fill = min(self.block_size, target - done)
            key = stretch.key_after(stretch.keys, done, fill)
            found = self.cache.find(key)
            if found is None:
                break
            self.pool.hold([found.block])
            stretch.blocks.append(found.block)
            stretch.fills.append(fill)
            stretch.computed += fill
            stretch.keys.append(key)
            done += fill
        stretch.borrowed = len(stretch.blocks)

    def shortage(self, stretch: Stretch, tokens: int) -> int:
        """Return how many blocks a stretch lacks to compute ``tokens`` more."""
        return -(-max(tokens - stretch.room(self.block_size), 0) // self.block_size)

    def supply(self, stretch: Stretch, count: int) -> None:
        """Give a stretch ``count`` more blocks; they must be free."""
        stretch.blocks.extend(self.pool.allocate(count))
        stretch.fills.frombytes(bytes(4 * count))

    def fill(self, stretch: Stretch, tokens: int) -> list[tuple[int, int, int]]:
        """Count ``tokens`` more as computed; return their places as (block, first slot, count)."""
        places = []
        for entry in range(stretch.borrowed, len(stretch.blocks)):
            used = stretch.fills[entry]
            taken = min(self.block_size - used, tokens)
            if tokens == 0:
                break
            if taken:
                places.append((stretch.blocks[entry], used, taken))
                stretch.fills[entry] += taken
                stretch.computed += taken
                tokens -= taken
        return places

    def forget(self) -> None:
        """Let nothing that was computed be found again: old weights did, or a pass with NaN.

        NaN spreads through weights of zero to all tokens of its pass, those of a beginning that
        others share among them. Its samples must have ended before: what they computed is
        remembered then.
        """
        self.cache.clear()

    def remember(self, stretch: Stretch) -> None:
        """Let later requests find what is computed of a stretch, its last, unfilled block too."""
        if not self.config.prefix_cache or stretch.computed == 0:
            return
        stretch.seal(self.block_size)
        if stretch.version != self.version:
            return
        most = len(stretch.ids) if self.config.cache_generated else stretch.prompt
        offset = 0
        for entry, (block, fill) in enumerate(zip(stretch.blocks, stretch.fills, strict=True)):
            if fill == 0 or offset + fill > most:
                break
            sealed = entry < len(stretch.keys)
            key = stretch.keys[entry] if sealed else stretch.key_after(stretch.keys, offset, fill)
            self.cache.insert(key, block, fill)
            offset += fill

    def cool(self, stretches: Iterable[Stretch]) -> None:
        """Take the blocks of stretches away; their tokens stay known."""
        blocks = array("i")
        for stretch in stretches:
            blocks += stretch.blocks
            stretch.blocks, stretch.fills, stretch.keys = array("i"), array("i"), []
            stretch.borrowed = stretch.computed = 0
        self.pool.release(blocks)

    def mark_mixed(self, stretches: Iterable[Stretch]) -> None:
        """Give keys of their own to stretches that new weights will go on with."""
        for stretch in stretches:
            self._mixed += 1
            stretch.version = -self._mixed


def block_list(stretches: Iterable[Stretch]) -> tuple[array[int], array[int]]:
    """Return the blocks and fills of ``stretches``, one after the other."""
    blocks, fills = array("i"), array("i")
    for stretch in stretches:
        blocks += stretch.blocks
        fills += stretch.fills
    return blocks, fills
