"""Random numbers of decoding: each a function of (row key, position, step) and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

TOKEN_STREAM, POSITION_STREAM = 0, 1
"""What a number is for: the same row, position and step give independent numbers to each."""


def _as_int64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


_GOLDEN = _as_int64(0x9E3779B97F4A7C15)
_FIRST = _as_int64(0xBF58476D1CE4E5B9)
_SECOND = _as_int64(0x94D049BB133111EB)


def mix(value: Tensor) -> Tensor:
    """Return the finaliser of splitmix64 (Steele et al. 2014) of int64 values, wrapping."""
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)


def row_keys(seed: int, row_ids: Tensor) -> Tensor:
    """Return one int64 key a row from the run's seed and the rows' ids."""
    start = mix(torch.full_like(row_ids, _as_int64(seed)) + _GOLDEN)
    return mix(start ^ (row_ids * _GOLDEN))


def uniform(key: Tensor, positions: Tensor, step: Tensor, stream: int) -> Tensor:
    """Return float32 numbers in [0, 1), ``[R, W]``, for keys ``[R]`` and steps ``[R]``."""
    bits = _shift(_states(key, positions, step, stream), 40)
    return bits.float() * 2.0**-24


def gumbel(key: Tensor, positions: Tensor, step: Tensor, vocab_size: int) -> Tensor:
    """Return standard Gumbel noise, float32 ``[R, W, V]``.

    It is ``-log(-log1p(-v))`` with ``v`` uniform on multiples of ``2^-32``: small ``v``, which
    float32 holds to full precision, are the large values that decide a maximum over many tokens.
    """
    tokens = torch.arange(1, vocab_size + 1, device=key.device) * _GOLDEN
    bits = _shift(mix(_states(key, positions, step, TOKEN_STREAM)[..., None] + tokens), 32)
    v = (bits.float() + 0.5) * 2.0**-32
    return -torch.log(-torch.log1p(-v.clamp_(max=1.0 - 2.0**-24)))


def _states(key: Tensor, positions: Tensor, step: Tensor, stream: int) -> Tensor:
    place = (positions << 32) | (step.long()[:, None] << 1) | stream
    return mix(key[:, None] ^ mix(place + _GOLDEN))


def _shift(value: Tensor, bits: int) -> Tensor:
    """Return a logical shift to the right; ``>>`` of int64 copies the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
