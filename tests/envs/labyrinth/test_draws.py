"""Hashed random numbers against arithmetic in 32 bits, and their spread."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from envs.labyrinth.draws import below, draw
from envs.labyrinth.numba_maze import _draw as compiled

words = st.integers(0, 2**32 - 1)
counters = st.integers(0, 40_000)


@given(words, counters)
def test_it_is_the_32_bit_hash(key, counter):
    with np.errstate(over="ignore"):
        mixed = np.uint32(key) + np.uint32(counter) * np.uint32(0x9E3779B9)
        mixed ^= mixed >> np.uint32(16)
        mixed *= np.uint32(0x7FEB352D)
        mixed ^= mixed >> np.uint32(15)
        mixed *= np.uint32(0x846CA68B)
        mixed ^= mixed >> np.uint32(16)
    assert draw(key, counter) == int(mixed)
    assert draw(np.array([key]), np.array([counter]))[0] == int(mixed)
    assert compiled(key, counter) == int(mixed)


@given(words, counters, st.integers(1, 2**16))
def test_below_is_below(key, counter, limit):
    assert 0 <= below(key, counter, limit) < limit


def test_draws_are_uniform_over_keys_and_over_counters():
    for lots in (below(np.arange(60_000), 5, 6), below(12345, np.arange(60_000), 6)):
        counts = np.bincount(lots, minlength=6)
        assert ((counts - 10_000) ** 2 / 10_000).sum() < 20.5  # chi-square, 5 degrees, p = 0.001


def test_neighbouring_counters_are_independent():
    bits = draw(np.arange(4000)[:, None], np.arange(2)) / 2.0**32
    assert abs(np.corrcoef(bits.T)[0, 1]) < 0.06
