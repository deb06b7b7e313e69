"""Random numbers that are a function of a key and a place, and of nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): ten rounds turn a
key of 64 bits and a counter of 128 bits into four words of 32 bits. The same integers come out in
numpy, torch and Triton, on any device, whatever else is in the batch.

The place of a draw is ``(position, stream, token)``; the key is that of a branch
(:func:`branch_key`). Word ``token % 4`` of the counter ``(position low, position high, stream,
token // 4)`` belongs to a token of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
TOKEN_STREAM = 0
"""The stream of the noise that picks a token."""

_MASK = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF
_SERIES_BELOW = 1.0 / 16
"""Below it the logarithm is summed as a series: hardware logarithms are coarse close to 1."""

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here


def mix64(value: int) -> int:
    """Return the finaliser of splitmix64 (Steele et al. 2014) of an integer, as 64 bits."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK64
    return value ^ (value >> 31)


def branch_key(seed: int, *path: int) -> int:
    """Return the key of a branch as a signed 64-bit integer.

    Args:
        seed: The request's seed; any integer, of which 64 bits count.
        path: The index of each fork's child from the root to the branch; empty for the root.
    """
    state = mix64(seed & _MASK64)
    for child in path:
        # Mixed twice: a child of one seed must not be the root of another.
        state = mix64(mix64(state) ^ ((child + 1) & _MASK64))
    return state - (1 << 64) if state >> 63 else state


def philox(
    key: tuple[NDArray[np.uint64], NDArray[np.uint64]], counter: tuple[NDArray[np.uint64], ...]
) -> tuple[NDArray[np.uint64], ...]:
    """Return four words in [0, 2^32) as uint64 arrays, from two and four such words (numpy)."""
    shift, mask = np.uint64(32), np.uint64(_MASK)
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (second >> shift) ^ c1 ^ k0,
            second & mask,
            (first >> shift) ^ c3 ^ k1,
            first & mask,
        )
        k0, k1 = (k0 + np.uint64(WEYL[0])) & mask, (k1 + np.uint64(WEYL[1])) & mask
    return c0, c1, c2, c3


def philox_torch(
    key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Return :func:`philox` of int64 tensors that hold words in [0, 2^32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # The product wraps to the 64 bits that are wanted; the mask undoes the sign's shift.
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((second >> 32) & _MASK) ^ c1 ^ k0,
            second & _MASK,
            ((first >> 32) & _MASK) ^ c3 ^ k1,
            first & _MASK,
        )
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0, c1, c2, c3


def token_bits(keys: Tensor, positions: Tensor, vocab: int, stream: int = TOKEN_STREAM) -> Tensor:
    """Return the 32 random bits of each token of the vocabulary.

    Args:
        keys: int64 ``[R]``, one :func:`branch_key` a row.
        positions: int64 ``[R]``, position of the token that is drawn.
        vocab: V.
        stream: What the numbers are for: streams are independent.

    Returns:
        int64 ``[R, V]`` in [0, 2^32).
    """
    calls = torch.arange((vocab + 3) // 4, device=keys.device)[None]
    key, place = keys[:, None], positions[:, None]
    words = philox_torch(
        (key & _MASK, (key >> 32) & _MASK),
        (place & _MASK, (place >> 32) & _MASK, torch.full_like(place, stream), calls),
    )
    return torch.stack(words, -1).flatten(1)[:, :vocab]


def exponential(bits: Tensor) -> Tensor:
    """Return float32 draws of the exponential law, ``-log(1 - v)`` with ``v`` from 32 bits.

    ``v = (bits + 1/2) / 2^32``: the smallest draws, which win a race among many tokens, keep full
    relative precision, where ``-log(u)`` of a uniform ``u`` close to 1 has steps of ``2^-24``.
    """
    v = (bits.float() + 0.5) * 2.0**-32
    v = v.clamp(max=1.0 - 2.0**-24)  # what float32 rounds up to 1
    series = torch.full_like(v, 1.0 / 7)
    for power in range(6, 0, -1):
        series = series * v + 1.0 / power
    return torch.where(v < _SERIES_BELOW, series * v, -torch.log(1.0 - v))


def gumbel(bits: Tensor) -> Tensor:
    """Return standard Gumbel noise, float32: ``-log`` of :func:`exponential`."""
    return -torch.log(exponential(bits))


def philox_words(k0, k1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
    """Return :func:`philox` of uint32 words inside a Triton kernel."""
    for _ in tl.static_range(10):
        high0 = tl.umulhi(c0, tl.full(c0.shape, 0xD2511F53, tl.uint32))
        high1 = tl.umulhi(c2, tl.full(c2.shape, 0xCD9E8D57, tl.uint32))
        low0 = c0 * tl.full(c0.shape, 0xD2511F53, tl.uint32)
        low1 = c2 * tl.full(c2.shape, 0xCD9E8D57, tl.uint32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = k0 + tl.full(k0.shape, 0x9E3779B9, tl.uint32)
        k1 = k1 + tl.full(k1.shape, 0xBB67AE85, tl.uint32)
    return c0, c1, c2, c3


def gumbel_tile(key, position, first_call, STREAM: tl.constexpr, CALLS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the Gumbel noise of ``4 * CALLS`` tokens from ``4 * first_call`` on (Triton)."""
    calls = first_call + tl.arange(0, CALLS)
    zero = tl.zeros((CALLS,), tl.uint32)
    w0, w1, w2, w3 = philox_words(  # type: ignore[no-untyped-call]
        zero + key.to(tl.uint32),
        zero + (key >> 32).to(tl.uint32),
        zero + position.to(tl.uint32),
        zero + (position >> 32).to(tl.uint32),
        zero + STREAM,
        calls.to(tl.uint32),
    )
    # Joined so that word w of call c is element 4 c + w.
    bits = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (4 * CALLS,))
    v = (bits.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    v = tl.minimum(v, 0.99999994)
    series = ((((v / 7 + 1.0 / 6) * v + 0.2) * v + 0.25) * v + 1.0 / 3) * v + 0.5
    series = (series * v + 1.0) * v
    return -tl.log(tl.where(v < 0.0625, series, -tl.log(1.0 - v)))
