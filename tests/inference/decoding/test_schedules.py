"""Counts a pass: published formulas, sums, blocks, refusals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.inference.decoding import ScheduleMismatch
from rlcore.inference.decoding.schedules import (
    AscendingSchedule,
    CosineSchedule,
    CustomSchedule,
    UniformSchedule,
    ascending_block_sizes,
    ascending_counts,
)


def test_ascending_counts_of_the_paper():
    assert ascending_counts(128) == [1, 2, 4, 8, 16, 32, 65]
    assert ascending_counts(256) == [1, 2, 4, 8, 16, 32, 64, 129]
    assert ascending_counts(64) == [1, 2, 4, 8, 16, 33]
    assert ascending_counts(1) == [1]
    assert ascending_counts(2) == [2]
    assert ascending_counts(3) == [3]
    assert ascending_counts(4) == [1, 3]
    assert ascending_counts(0) == []


def test_ascending_counts_of_every_length():
    for length in range(2, 1026):
        counts = ascending_counts(length)
        steps = math.floor(math.log2(length))
        assert len(counts) == steps
        assert sum(counts) == length
        assert counts[:-1] == [2**s for s in range(steps - 1)]
        assert counts[-1] == length - (2 ** (steps - 1) - 1)


def test_ascending_blocks_of_every_length():
    for length in range(1, 1026):
        steps = len(ascending_counts(length))
        for blocks in range(1, steps + 1):
            sizes = ascending_block_sizes(length, blocks)
            assert len(sizes) == blocks
            assert sum(sizes) == length
            right = [2 ** (steps - 1) + 1 + (length - 2**steps)]
            right += [2**k for k in range(steps - 2, steps - blocks - 1, -1)]
            assert sizes[1:] == right[: blocks - 1][::-1]
            counts = AscendingSchedule().block_counts(sizes)
            assert [sum(block) for block in counts] == sizes
            assert len(counts[0]) == steps - blocks + 1
            assert all(len(block) == 1 for block in counts[1:])
        for blocks in (0, steps + 1):
            with pytest.raises(ConfigError, match=f"allows 1 to {steps} blocks, got {blocks}"):
                ascending_block_sizes(length, blocks)


@given(masked=st.integers(1, 300), steps=st.integers(1, 300))
def test_uniform_gives_the_remainder_to_the_first_passes(masked, steps):
    (counts,) = UniformSchedule(steps=steps).block_counts([masked])
    base, more = masked // steps, masked % steps
    published = [base + 1] * more + [base] * (steps - more)
    assert counts == [count for count in published if count]


def test_uniform_over_blocks():
    assert UniformSchedule(steps=6).block_counts([8, 8]) == [[3, 3, 2], [3, 3, 2]]
    assert UniformSchedule(per_pass=3).block_counts([8, 6]) == [[3, 3, 2], [3, 3]]
    with pytest.raises(ScheduleMismatch, match=r"steps=7 is not a multiple .* 2"):
        UniformSchedule(steps=7).block_counts([8, 8])
    with pytest.raises(ScheduleMismatch, match=r"steps=1 .* 2"):
        UniformSchedule(steps=1).block_counts([8, 8])


@given(masked=st.integers(1, 300), steps=st.integers(1, 64))
def test_cosine_leaves_the_published_share(masked, steps):
    (counts,) = CosineSchedule(steps).block_counts([masked])
    assert sum(counts) == masked
    assert len(counts) == min(steps, masked)
    assert min(counts) >= 1
    n = len(counts)
    for s in range(1, n):
        share = math.floor(masked * math.cos(math.pi / 2 * s / n))
        left = masked - sum(counts[:s])
        # One position a pass is kept back where the formula would leave none.
        assert left == max(min(share, masked - sum(counts[: s - 1]) - 1), n - s)


def test_cosine_by_hand():
    assert CosineSchedule(4).block_counts([64]) == [[5, 14, 21, 24]]


def test_custom_counts_are_cut_at_blocks():
    assert CustomSchedule((1, 3, 2, 2)).block_counts([4, 4]) == [[1, 3], [2, 2]]
    with pytest.raises(ScheduleMismatch, match="commits 8 positions in 4 passes, but 9"):
        CustomSchedule((1, 3, 2, 2)).block_counts([9])
    with pytest.raises(ScheduleMismatch, match=r"block 0 has 5 .* end at 4 and 6"):
        CustomSchedule((1, 3, 2, 2)).block_counts([5, 3])


def test_ascending_wants_blocks_that_end_where_passes_end():
    with pytest.raises(ScheduleMismatch, match="ascending_blocks"):
        AscendingSchedule().block_counts([16, 16])
    assert AscendingSchedule(scope="block").block_counts([16, 4]) == [[1, 2, 4, 9], [1, 3]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UniformSchedule(), "one of steps and per_pass"),
        (lambda: UniformSchedule(steps=2, per_pass=2), "one of steps and per_pass"),
        (lambda: UniformSchedule(steps=0), "steps must be an integer >= 1, got 0"),
        (lambda: UniformSchedule(per_pass=1.5), "per_pass must be an integer >= 1, got 1.5"),
        (lambda: CosineSchedule(-1), "got -1"),
        (lambda: CustomSchedule(()), "at least one pass"),
        (lambda: CustomSchedule((2, 0)), "counts must be an integer >= 1, got 0"),
        (lambda: AscendingSchedule(scope="blocks"), "'sequence' or 'block', got 'blocks'"),
        (lambda: ascending_counts(-1), "got -1"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
