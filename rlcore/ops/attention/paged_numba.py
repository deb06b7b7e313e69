"""Paged attention of CPU tensors as one compiled loop (optional package numba).

Nothing is gathered: each query walks the slots that its row lists. That is the fast path of rows
with few new tokens; of long prompts the matrix products of the torch path are faster.

Legend: ``n`` slots that a query sees; ``H``, ``K``, ``D`` as in :mod:`rlcore.ops.attention.paged`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.ops.exp_numba import exponentials
from rlcore.ops.lanes_numba import (
    LINE,
    instructions,
    lanes,
    larger,
    largest,
    load,
    prefetch_early,
    spread,
    store,
    total,
)
from rlcore.ops.numba_jit import compiled

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch

Array = NDArray[Any]


def _list(table: Any, fill: Any, block: Any, size: Any, slot: Any, count: Any) -> None:
    """Write where each row's slots start in a pool of ``size`` elements a slot, and how many."""
    for row in range(len(table)):
        listed = 0
        for entry in range(table.shape[1]):
            first = table[row, entry] * block
            for offset in range(fill[row, entry]):
                slot[row, listed] = (first + offset) * size
                listed += 1
        count[row] = listed


def _attend(
    q: Any, keys: Any, values: Any, starts: Any, slot: Any, count: Any, scale: Any, score: Any,
    out: Any,
) -> None:  # fmt: skip
    """``q [N, >= H, D]``; ``keys`` and ``values [slots, K, D]``; ``score`` is room."""
    heads, width, rows = out.shape[1], out.shape[2], len(count)
    size, step = keys.shape[1] * width, lanes(score)
    flat_keys, flat_values = keys.reshape(-1), values.reshape(-1)
    for row in range(rows):
        first, end = starts[row], starts[row + 1]
        for token in range(first, end):
            seen = count[row] - (end - 1 - token)
            if seen <= 0:
                out[token] = 0.0
                continue
            near, ahead = slot[row, :seen], slot[row, :0]
            if token == first and row + 1 < rows:
                ahead = slot[row + 1, : count[row + 1]]
            some = score[: heads * ((seen + step - 1) // step * step)]
            query, mixed = q[token].reshape(-1), out[token].reshape(-1)
            _products(query, flat_keys, near, size, width, scale, some, flat_values, ahead)
            _softmax(some, heads)
            _mix(some, flat_values, near, size, width, mixed)


def _products(
    query: Any, keys: Any, slot: Any, size: Any, width: Any, scale: Any, score: Any, values: Any,
    ahead: Any,
) -> None:  # fmt: skip
    """Write the scores ``[H, room]`` in the order in which the keys lie in memory.

    A head has a whole number of registers; what is beyond its slots is minus infinity. Meanwhile
    keys and values of the next row are on their way from a slower memory.
    """
    step = lanes(score)
    whole, room = width // step * step, (len(slot) + step - 1) // step * step
    kv_heads, heads = size // width, len(score) // room
    ratio = heads // kv_heads
    for t in range(len(slot)):
        if t < len(ahead):
            for at in range(ahead[t], ahead[t] + size, LINE // score.itemsize):
                prefetch_early(keys, at)
                prefetch_early(values, at)
        for k in range(kv_heads):
            key = slot[t] + k * width
            for h in range(k * ratio, (k + 1) * ratio):
                sums = spread(score, 0.0)
                for d in range(0, whole, step):
                    sums = sums + load(query, h * width + d) * load(keys, key + d)
                product = total(sums)
                for d in range(whole, width):
                    product += query[h * width + d] * keys[key + d]
                score[h * room + t] = product * scale
    for h in range(heads):
        for t in range(len(slot), room):
            score[h * room + t] = -math.inf


def _softmax(score: Any, heads: Any) -> None:
    """Normalise the scores ``[H, room]`` of each head."""
    step, room = lanes(score), len(score) // heads
    for first in range(0, len(score), room):
        tops = load(score, first)
        for t in range(first, first + room, step):
            tops = larger(tops, load(score, t))
        top = largest(tops)
        for t in range(first, first + room):
            score[t] -= top
    exponentials(score)
    for first in range(0, len(score), room):
        mass = score.dtype.type(0)
        for t in range(first, first + room):
            mass += score[t]
        share = score.dtype.type(1) / mass
        for t in range(first, first + room):
            score[t] *= share


def _mix(score: Any, values: Any, slot: Any, size: Any, width: Any, out: Any) -> None:
    """Write the weighted sums of values ``[H, D]``; four sums at a time hide an addition's time."""
    step, heads = lanes(score), len(out) // width
    whole, fours, room = width // step * step, len(slot) // 4 * 4, len(score) // heads
    ratio = heads // (size // width)
    for h in range(heads):
        weight, kv = score[h * room : (h + 1) * room], h // ratio * width
        for d in range(0, whole, step):
            at = kv + d
            a = b = c = e = spread(score, 0.0)
            for t in range(0, fours, 4):
                a = a + spread(score, weight[t]) * load(values, slot[t] + at)
                b = b + spread(score, weight[t + 1]) * load(values, slot[t + 1] + at)
                c = c + spread(score, weight[t + 2]) * load(values, slot[t + 2] + at)
                e = e + spread(score, weight[t + 3]) * load(values, slot[t + 3] + at)
            for t in range(fours, len(slot)):
                a = a + spread(score, weight[t]) * load(values, slot[t] + at)
            store(out, h * width + d, a + b + (c + e))
        for d in range(whole, width):
            mixed = out.dtype.type(0)
            for t in range(len(slot)):
                mixed += weight[t] * values[slot[t] + kv + d]
            out[h * width + d] = mixed


@cache
def _kernels() -> tuple[Any, Any]:
    parts = (_products, _softmax, _mix, exponentials)
    return compiled(_list), compiled(_attend, *parts, intrinsics=instructions())


def attend(
    q: Array, keys: Array, values: Array, block: int, batch: PagedBatch, scale: float, out: Array
) -> None:
    """Write the attention of the first ``H`` heads of ``q [N, >= H, D]`` to ``out [N, H, D]``.

    ``keys`` and ``values`` are ``[slots, K, D]``, of ``block`` slots a block; for the rest see
    :func:`rlcore.ops.attention.paged.paged_attention`.
    """
    kernels, size = _kernels(), keys[0].size
    key = "numba", block, size
    if key not in batch.plans:
        rows, most = batch.block_table.shape
        slot, count = np.empty((rows, most * block), np.int64), np.empty(rows, np.int64)
        kernels[0](batch.block_table.numpy(), batch.block_fill.numpy(), block, size, slot, count)
        batch.plans[key] = batch.query_starts.numpy(), slot, count
    plan = batch.plans[key]
    score = np.empty(out.shape[1] * (plan[1].shape[1] + LINE), out.dtype)
    kernels[1](q, keys, values, *plan, out.dtype.type(scale), score, out)


def paged_attention_numba(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    flat_keys, flat_values = (x.flatten(0, 1).contiguous().numpy() for x in (keys, values))
    queries = q.contiguous().numpy()
    out = np.empty_like(queries)
    attend(queries, flat_keys, flat_values, keys.shape[1], batch, scale, out)
    return torch.from_numpy(out)
