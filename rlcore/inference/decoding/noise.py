"""Random numbers of decoding: each a function of (row key, position, step) and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.ops.sampling import counter_rng

POSITION_STREAM = 0x706F73
"""Numbers that order positions; independent of those that pick tokens."""


def row_keys(seed: int, row_ids: Tensor) -> Tensor:
    """Return ``branch_key(seed, row_id)`` of every row, int64 ``[B]``, without leaving the device.

    See :func:`rlcore.ops.sampling.counter_rng.branch_key`.
    """
    start = _mix64(torch.full_like(row_ids, counter_rng.branch_key(seed)))
    return _mix64(start ^ (row_ids + 1))


def uniform(key: Tensor, positions: Tensor, step: Tensor, stream: int) -> Tensor:
    """Return float32 numbers in [0, 1), ``[R, W]``, for keys ``[R]`` and steps ``[R]``."""
    keys, places = draw_places(key, positions, step)
    bits = counter_rng.token_bits(keys, places, 1, stream)
    return ((bits >> 8).float() * 2.0**-24).view(positions.shape)


def draw_places(key: Tensor, positions: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return a key and a place for each window position, int64 ``[R * W]``.

    The place has the step in its high word and the position in its low one; see
    :mod:`rlcore.ops.sampling.counter_rng`.
    """
    places = (step.long()[:, None] << 32) | positions
    return key[:, None].expand_as(places).reshape(-1), places.reshape(-1)


def _mix64(value: Tensor) -> Tensor:
    """Return :func:`rlcore.ops.sampling.counter_rng.mix64` of int64 values, wrapping."""
    value = value + _as_int64(0x9E3779B97F4A7C15)
    value = (value ^ _shift(value, 30)) * _as_int64(0xBF58476D1CE4E5B9)
    value = (value ^ _shift(value, 27)) * _as_int64(0x94D049BB133111EB)
    return value ^ _shift(value, 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Return a logical shift to the right; ``>>`` of int64 copies the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _as_int64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
