"""Counter-based random numbers: published vectors, equal integers everywhere, the laws drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rlcore.ops.sampling import counter_rng
from rlcore.ops.sampling.counter_rng import (
    branch_key,
    exponential,
    gumbel,
    mix64,
    philox,
    philox_torch,
    token_bits,
)
from rlcore.ops.triton_jit import jitted
from tests.ops.triton_devices import DEVICES

tl: Any = None  # bound when the kernel is built, as in the package
gumbel_tile: Any = None

# The known answers that Salmon et al. publish with their implementation (Random123, kat_vectors).
KNOWN = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF,) * 4,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "wanted"), KNOWN)
def test_philox_gives_the_published_words(key, counter, wanted) -> None:
    found = philox(
        tuple(np.array([x], dtype=np.uint64) for x in key),
        tuple(np.array([x], dtype=np.uint64) for x in counter),
    )
    assert tuple(int(x[0]) for x in found) == wanted
    found = philox_torch(
        tuple(torch.tensor([x]) for x in key), tuple(torch.tensor([x]) for x in counter)
    )
    assert tuple(int(x[0]) for x in found) == wanted


def words_of(key: int, position: int, vocab: int, stream: int = 0) -> list[int]:
    """The bits of each token by the module's docstring, one call of numpy's Philox a token."""
    found = []
    for token in range(vocab):
        key64, place = key % 2**64, position % 2**64
        words = philox(
            tuple(np.array([x], dtype=np.uint64) for x in (key64 % 2**32, key64 >> 32)),
            tuple(
                np.array([x], dtype=np.uint64)
                for x in (place % 2**32, place >> 32, stream, token // 4)
            ),
        )
        found.append(int(words[token % 4][0]))
    return found


KEYS, PLACES = [branch_key(5, 1), branch_key(-3), -(2**63)], [7, 2**33 + 1, 0]


def test_bits_of_tokens_follow_their_place() -> None:
    bits = token_bits(torch.tensor(KEYS), torch.tensor(PLACES), 10)
    for row, (key, place) in enumerate(zip(KEYS, PLACES, strict=True)):
        assert bits[row].tolist() == words_of(key, place, 10)
    other = token_bits(torch.tensor(KEYS), torch.tensor(PLACES), 10, stream=3)
    assert other[0].tolist() == words_of(KEYS[0], PLACES[0], 10, 3)
    more = token_bits(torch.tensor(KEYS[1:]), torch.tensor(PLACES[1:]), 23)
    assert torch.equal(more[:, :10], bits[1:])


def _noise_kernel(keys_ptr, places_ptr, out_ptr, CALLS: tl.constexpr):
    row = tl.program_id(0)
    key, place = tl.load(keys_ptr + row), tl.load(places_ptr + row)
    noise = gumbel_tile(key, place, 0, 0, CALLS)
    tl.store(out_ptr + row * 4 * CALLS + tl.arange(0, 4 * CALLS), noise)


@pytest.mark.parametrize("device", DEVICES)
def test_triton_draws_the_same_noise(device: str) -> None:
    """The noise is a strictly falling function of the bits: equal noise is equal bits."""
    jitted(counter_rng.gumbel_tile, counter_rng.philox_words)
    kernel = jitted(_noise_kernel, counter_rng.gumbel_tile)
    keys, places = torch.tensor(KEYS, device=device), torch.tensor(PLACES, device=device)
    out = torch.empty(3, 1024, device=device)
    kernel[(3,)](keys, places, out, CALLS=256)
    wanted = gumbel(token_bits(keys.cpu(), places.cpu(), 1024))
    torch.testing.assert_close(out.cpu(), wanted, rtol=2e-6, atol=2e-6)


def test_branch_keys_differ_and_are_stable() -> None:
    paths = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
    keys = {branch_key(seed, *path) for seed in (0, 1, 2, -1, 2**63, 2**64 + 7) for path in paths}
    assert len(keys) == 6 * len(paths)
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert branch_key(7) == branch_key(7 + 2**64)
    # What a seed draws is part of a record: it must be the same in every release.
    golden = {
        (0,): -2152535657050944081,
        (0, 0): 3400964856525257824,
        (0, 1): -5581002065636601042,
        (7, 0, 2): 2860033217073134590,
        (-1, 3): 841709839028126030,
    }
    assert {place: branch_key(*place) for place in golden} == golden
    # splitmix64 of the generator's published example: seed 1234567, first output.
    assert mix64(1234567) == 6457827717110365317


def test_the_smallest_draws_keep_their_precision() -> None:
    """A uniform float32 close to 1 has steps of 2^-24: its logarithm would be 0 or 6e-8."""
    bits = torch.tensor([0, 1, 2, 100, 2**20, 2**28 - 1, 2**28, 2**31, 2**32 - 1])
    exact = -torch.log1p(-(bits.double() + 0.5) * 2.0**-32)
    found = exponential(bits).double()
    torch.testing.assert_close(found[:-1], exact[:-1], rtol=3e-6, atol=0)
    assert 16.0 < float(found[-1]) < float(exact[-1])
    assert torch.isfinite(gumbel(bits)).all()
    # 2^28 - 1 is 2^28 in float32, and so is its draw.
    assert bool((exponential(bits).diff() >= 0).all())
    assert len(exponential(bits).unique()) == len(bits) - 1


def test_gumbel_noise_has_its_moments() -> None:
    """Mean Euler's constant, variance pi^2 / 6, within five standard errors."""
    keys = torch.tensor([branch_key(1, i) for i in range(100)])
    noise = gumbel(token_bits(keys, torch.arange(100), 10_000)).double().flatten()
    count = len(noise)
    variance = math.pi**2 / 6
    assert abs(float(noise.mean()) - 0.5772156649) < 5 * math.sqrt(variance / count)
    # The variance of the squared deviation is (22/5 + 1 - 1) times the squared variance.
    assert abs(float(noise.var()) - variance) < 5 * variance * math.sqrt(4.4 / count)
