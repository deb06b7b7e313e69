"""Paged attention of CPU tensors as one compiled loop (optional package numba).

Nothing is gathered: each query walks the blocks that its row lists. That is the fast path of rows
with one new token; of long prompts the matrix products of the torch path are faster.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlcore.ops.exp_numba import exponentials
from rlcore.ops.numba_jit import compiled
from rlcore.ops.prefetch_numba import LINE, prefetch, prefetch_intrinsic

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch


def _attend(
    q: Any, keys: Any, values: Any, block: Any, starts: Any, table: Any, fill: Any, scale: Any,
    score: Any, slot: Any, out: Any,
) -> None:  # fmt: skip
    """``keys`` and ``values`` are ``[slots, K, D]``; ``score [H, T]`` and ``slot [T]`` are room."""
    for row in range(len(table)):
        listed = 0
        for entry in range(table.shape[1]):
            for offset in range(fill[row, entry]):
                slot[listed] = table[row, entry] * block + offset
                listed += 1
        for token in range(starts[row], starts[row + 1]):
            seen = max(listed - (starts[row + 1] - 1 - token), 0)
            out[token] = 0.0
            _products(q[token], keys, values, slot[:seen], score)
            for head in range(q.shape[1]):
                _softmax(score[head, :seen], scale)
            _mix(score, values, slot[:seen], out[token])


def _products(q: Any, keys: Any, values: Any, slot: Any, score: Any) -> None:
    """Write the products with the keys, in the order in which they lie in memory.

    Meanwhile the values, which are next, are on their way from a slower memory.
    """
    heads, width = q.shape
    ratio, fours = heads // keys.shape[1], heads // 4 * 4
    zero, flat, size = q.dtype.type(0), values.reshape(-1), values.shape[1] * values.shape[2]
    for t in range(len(slot)):
        key, first = keys[slot[t]], slot[t] * size
        for at in range(first, first + size, LINE // flat.itemsize):
            prefetch(flat, at)
        for h in range(0, fours, 4):
            k0, k1 = key[h // ratio], key[(h + 1) // ratio]
            k2, k3 = key[(h + 2) // ratio], key[(h + 3) // ratio]
            s0 = s1 = s2 = s3 = zero
            for d in range(width):
                s0 += q[h, d] * k0[d]
                s1 += q[h + 1, d] * k1[d]
                s2 += q[h + 2, d] * k2[d]
                s3 += q[h + 3, d] * k3[d]
            score[h, t], score[h + 1, t], score[h + 2, t], score[h + 3, t] = s0, s1, s2, s3
        for h in range(fours, heads):
            total = zero
            for d in range(width):
                total += q[h, d] * key[h // ratio, d]
            score[h, t] = total


def _softmax(score: Any, scale: Any) -> None:
    top = score.dtype.type(-math.inf)
    for t in range(len(score)):
        score[t] *= scale
        top = max(top, score[t])
    for t in range(len(score)):
        score[t] -= top
    exponentials(score)
    mass = score.dtype.type(0)
    for t in range(len(score)):
        mass += score[t]
    share = score.dtype.type(1) / mass
    for t in range(len(score)):
        score[t] *= share


def _mix(score: Any, values: Any, slot: Any, out: Any) -> None:
    """Add up the weighted values, in the order in which they lie in memory."""
    ratio, width = out.shape[0] // values.shape[1], out.shape[1]
    for t in range(len(slot)):
        value = values[slot[t]]
        for h in range(len(out)):
            weight, kv = score[h, t], h // ratio
            for d in range(width):
                out[h, d] += weight * value[kv, d]


@cache
def _kernel() -> Any:
    parts = (_products, _softmax, _mix, exponentials)
    return compiled(_attend, *parts, intrinsics=(prefetch_intrinsic,))


def paged_attention_numba(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    block = keys.shape[1]
    queries = q.contiguous().numpy()
    out = np.empty_like(queries)
    room = batch.block_table.shape[1] * block
    _kernel()(
        queries, *(pool.flatten(0, 1).contiguous().numpy() for pool in (keys, values)), block,
        batch.query_starts.numpy(), batch.block_table.numpy(), batch.block_fill.numpy(),
        out.dtype.type(scale), np.empty((q.shape[1], room), out.dtype), np.empty(room, np.int64),
        out,
    )  # fmt: skip
    return torch.from_numpy(out)
