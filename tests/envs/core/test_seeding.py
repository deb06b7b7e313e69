"""Seeds of many environments."""

import numpy as np
import pytest

from envs.core.seeding import Streams, generators, of_rows, uniforms


def numbers(rngs):
    return [int(rng.integers(2**32)) for rng in rngs]


def test_an_integer_gives_its_children():
    children = np.random.SeedSequence(9).spawn(3)
    want = [np.random.Generator(np.random.PCG64(child)) for child in children]
    assert numbers(generators(9, 3)) == numbers(want)
    assert numbers(generators(np.int64(9), 5))[:3] == numbers(generators(9, 3))


def test_a_list_gives_each_its_own_as_gymnasium_seeds_a_plain_environment():
    from gymnasium.utils.seeding import np_random

    want = [np_random(seed)[0] for seed in (4, 0, 4)]
    found = numbers(generators([4, 0, 4], 3))
    assert found == numbers(want)
    assert found[0] == found[2] != found[1]
    assert numbers(generators(np.array([4, 0, 4]), 3)) == found


def test_none_keeps_a_generator_that_there_is():
    before = generators([1, 2], 2)
    wanted = generators([1, 2], 2)[1].integers(2**32)
    after = generators([7, None], 2, before)
    assert after[1] is before[1]
    assert after[1].integers(2**32) == wanted
    assert numbers(generators([None, None], 2)) != numbers(generators([None, None], 2))
    assert numbers(generators(None, 2)) != numbers(generators(None, 2))


def test_environments_share_nothing():
    found = numbers(generators(0, 200)) + numbers(generators(1, 200))
    assert len(set(found)) > 395


@pytest.mark.parametrize("bad", [-1, [3, -1], [1], [1, 2, 3], np.array([-2, 1])])
def test_bad_values(bad):
    with pytest.raises(ValueError, match=r"seed"):
        generators(bad, 2)


@pytest.mark.parametrize("bad", [[0, 1.5], [True, 1], ["1", "2"]])
def test_bad_types(bad):
    with pytest.raises(TypeError, match="a seed must be an integer"):
        generators(bad, 2)


def test_numbers_drawn_ahead_are_those_of_the_generators():
    ours, twins = Streams(generators(5, 6)), generators(5, 6)
    chance, halves = np.random.default_rng(0), 0
    for _ in range(600):
        rows = np.flatnonzero(chance.random(6) < 0.6)
        count, row = int(chance.integers(1, 5)), int(chance.integers(6))
        wanted = uniforms(of_rows(twins, rows), count).reshape(-1, count)
        np.testing.assert_array_equal(uniforms(of_rows(ours, rows), count), wanted)
        if chance.random() < 0.1:  # half of 64 bits is kept for the next draw of 32
            assert ours[row].integers(1000, dtype=np.uint32) == twins[row].integers(
                1000, dtype=np.uint32
            )
        halves += twins[row].bit_generator.state["has_uint32"]
    assert 100 < halves < 500
    assert [rng.bit_generator.state for rng in ours] == [rng.bit_generator.state for rng in twins]


def test_more_numbers_than_a_block_and_parts_of_parts():
    ours, twins = Streams(generators(1, 4)), generators(1, 4)
    assert len(ours) == 4
    np.testing.assert_array_equal(uniforms(ours[1:3], 3), uniforms(twins[1:3], 3))
    np.testing.assert_array_equal(uniforms(ours, 300), uniforms(twins, 300))
    part = ours.of(np.array([3, 1])).of(np.array([1]))
    np.testing.assert_array_equal(uniforms(part, 2), uniforms([twins[1]], 2))
    assert uniforms(ours.of(np.array([], int)), 2).shape == (0, 2)
    assert ours[1].random() == twins[1].random()
