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

from rlcore.ops.numba_jit import compiled

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
            _products(q[token], keys, slot[:seen], score)
            for head in range(q.shape[1]):
                _softmax(score[head, :seen], scale)
            _mix(score, values, slot[:seen], out[token])


def _products(q: Any, keys: Any, slot: Any, score: Any) -> None:
    """Write the products with the keys: slot by slot, as they lie in memory, four at a time."""
    ratio, width = q.shape[0] // keys.shape[1], q.shape[1]
    fours = len(slot) // 4 * 4
    for t in range(0, fours, 4):
        k0, k1, k2, k3 = keys[slot[t]], keys[slot[t + 1]], keys[slot[t + 2]], keys[slot[t + 3]]
        for h in range(len(q)):
            kv, x = h // ratio, q[h, 0]
            s0, s1, s2, s3 = x * k0[kv, 0], x * k1[kv, 0], x * k2[kv, 0], x * k3[kv, 0]
            for d in range(1, width):
                x = q[h, d]
                s0 += x * k0[kv, d]
                s1 += x * k1[kv, d]
                s2 += x * k2[kv, d]
                s3 += x * k3[kv, d]
            score[h, t], score[h, t + 1], score[h, t + 2], score[h, t + 3] = s0, s1, s2, s3
    for t in range(fours, len(slot)):
        for h in range(len(q)):
            total = q[h, 0] * keys[slot[t], h // ratio, 0]
            for d in range(1, width):
                total += q[h, d] * keys[slot[t], h // ratio, d]
            score[h, t] = total


def _softmax(score: Any, scale: Any) -> None:
    top = -math.inf
    for t in range(len(score)):
        score[t] *= scale
        top = max(top, score[t])
    mass = 0.0
    for t in range(len(score)):
        score[t] = math.exp(score[t] - score.dtype.type(top))
        mass += score[t]
    for t in range(len(score)):
        score[t] *= score.dtype.type(1.0 / mass)


def _mix(score: Any, values: Any, slot: Any, out: Any) -> None:
    """Add up the weighted values, four slots at a time."""
    ratio, width = out.shape[0] // values.shape[1], out.shape[1]
    fours = len(slot) // 4 * 4
    for t in range(0, fours, 4):
        v0, v1 = values[slot[t]], values[slot[t + 1]]
        v2, v3 = values[slot[t + 2]], values[slot[t + 3]]
        for h in range(len(out)):
            kv, w0, w1 = h // ratio, score[h, t], score[h, t + 1]
            w2, w3 = score[h, t + 2], score[h, t + 3]
            for d in range(width):
                out[h, d] += w0 * v0[kv, d] + w1 * v1[kv, d] + w2 * v2[kv, d] + w3 * v3[kv, d]
    for t in range(fours, len(slot)):
        for h in range(len(out)):
            for d in range(width):
                out[h, d] += score[h, t] * values[slot[t], h // ratio, d]


@cache
def _kernel() -> Any:
    return compiled(_attend, _products, _softmax, _mix)


def paged_attention_numba(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    block = keys.shape[1]
    queries = q.contiguous().numpy()
    out = np.empty_like(queries)
    room = batch.block_table.shape[1] * block
    _kernel()(
        queries, keys.flatten(0, 1).numpy(), values.flatten(0, 1).numpy(), block,
        batch.query_starts.numpy(), batch.block_table.numpy(), batch.block_fill.numpy(),
        out.dtype.type(scale), np.empty((q.shape[1], room), out.dtype), np.empty(room, np.int64),
        out,
    )  # fmt: skip
    return torch.from_numpy(out)
