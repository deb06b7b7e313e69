"""Blocks are held, shared and given back exactly as often as they were taken."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.inference.errors import BlockPoolError, OutOfBlocksError
from rlcore.inference.pool import BlockPool
from rlcore.inference.segments import SegmentCache, segment_key


def test_a_block_that_is_given_back_twice_raises_and_changes_nothing() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2)
    pool.release([first])
    for wrong in ([first], [second, second], [second, first]):
        with pytest.raises(BlockPoolError, match="more often"):
            pool.release(wrong)
        assert pool.free == 3
        assert pool.refcount[second] == 1
    pool.check()


def test_a_free_or_foreign_block_cannot_be_shared() -> None:
    pool = BlockPool(4)
    with pytest.raises(BlockPoolError, match="free"):
        pool.hold([1])
    pool.allocate(4)
    for wrong in ([4], [-1], [0, 4]):
        for act in (pool.hold, pool.release):
            with pytest.raises(BlockPoolError, match=r"0\.\.3"):
                act(wrong)
    assert pool.refcount.tolist() == [1] * 4


def test_the_peak_is_the_most_that_was_in_use_at_once() -> None:
    pool = BlockPool(6)
    first = pool.allocate(4)
    pool.release(first)
    pool.allocate(2)
    assert (pool.used, pool.peak) == (2, 4)


def test_too_many_blocks_raise_and_take_nothing() -> None:
    pool = BlockPool(3)
    pool.allocate(2)
    with pytest.raises(OutOfBlocksError, match="2 blocks were asked for, 1 of 3 are free"):
        pool.allocate(2)
    assert pool.free == 1
    with pytest.raises(ConfigError):
        BlockPool(0)


def test_check_notices_a_wrong_count() -> None:
    pool = BlockPool(3)
    pool.allocate(1)
    pool.refcount[2] = 1
    with pytest.raises(BlockPoolError, match="held"):
        pool.check()
    twice = BlockPool(3)
    twice._free[0] = twice._free[1]
    with pytest.raises(BlockPoolError, match="lists a block twice"):
        twice.check()


def test_blocks_that_are_taken_together_follow_each_other() -> None:
    pool = BlockPool(9)
    assert pool.allocate(3) == [0, 1, 2]
    assert pool.allocate(2) == [3, 4]
    pool.release([1, 2, 0])
    assert pool.allocate(3) == [0, 1, 2]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), max_size=60))
def test_counts_follow_a_model(operations: list[tuple[int, int]]) -> None:
    pool, held = BlockPool(7), Counter()
    for operation, number in operations:
        blocks = sorted(held.elements())[: number + 1]
        if operation == 0 and number <= pool.free:
            held.update(pool.allocate(number))
        elif operation == 1:
            pool.hold(blocks)
            held.update(blocks)
        elif operation > 1:
            pool.release(blocks)
            held -= Counter(blocks)
        assert pool.refcount.tolist() == [held[i] for i in range(7)]
        assert pool.used + pool.free == 7
        assert pool.used == len(held)
        pool.check()


def test_keys_tell_apart_everything_that_a_value_depends_on() -> None:
    base = segment_key(1, [b"a" * 16], 5, [7, 8])
    assert base == segment_key(1, [b"a" * 16], 5, [7, 8])
    assert len(base) == 16
    others = [
        segment_key(2, [b"a" * 16], 5, [7, 8]),
        segment_key(1, [], 5, [7, 8]),
        segment_key(1, [b"b" * 16], 5, [7, 8]),
        segment_key(1, [b"a" * 16, b"b" * 16], 5, [7, 8]),
        segment_key(1, [b"b" * 16, b"a" * 16], 5, [7, 8]),
        segment_key(1, [b"a" * 16], 6, [7, 8]),
        segment_key(1, [b"a" * 16], 5, [8, 7]),
        segment_key(1, [b"a" * 16], 5, [7]),
        segment_key(1, [b"a" * 16], 5, [7, 8, 0]),
    ]
    assert len({base, *others}) == len(others) + 1


def test_the_cache_gives_up_the_longest_unused_that_nobody_holds() -> None:
    pool = BlockPool(4)
    cache = SegmentCache(pool)
    blocks = pool.allocate(4)
    for block in blocks:
        cache.insert(bytes([block]), block, 16)
    pool.release(blocks[:3])  # somebody still has the last one
    assert cache.evictable() == 3
    assert pool.free == 0
    assert cache.find(bytes([blocks[0]])).block == blocks[0]
    assert cache.evict(1) == 1
    assert bytes([blocks[1]]) not in cache
    assert cache.evict(9) == 2
    assert len(cache) == 1
    assert cache.find(bytes([blocks[0]])) is None
    pool.release([blocks[3]])
    cache.clear()
    assert pool.free == 4
    assert cache.evictions == 4
    pool.check()


def test_a_block_under_two_keys_is_free_when_both_are_gone() -> None:
    pool = BlockPool(2)
    cache = SegmentCache(pool)
    block = pool.allocate(1)[0]
    assert cache.insert(b"part", block, 5)
    assert cache.insert(b"full", block, 16)
    assert not cache.insert(b"full", block, 16)
    pool.release([block])
    assert cache.blocks == [block]
    assert cache.evictable() == 1
    assert cache.evict(1) == 1
    assert pool.free == 2
    assert len(cache) == 0
