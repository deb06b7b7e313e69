"""Split, head norms, rotation and cache write as one compiled loop (optional package numba)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.ops.lanes_numba import instructions, lanes, load, prefetch, spread, store, total
from rlcore.ops.numba_jit import compiled

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import KVWrite
    from rlcore.ops.rotary import HeadNorms


def _prepare(
    heads: Any, kinds: Any, q_weight: Any, k_weight: Any, eps: Any, cos: Any, sin: Any, slots: Any,
    keys: Any, values: Any,
) -> None:  # fmt: skip
    """Change ``heads [N, C, D]`` in place and copy keys and values to the pool.

    ``kinds``: how many heads are queries, how many keys; the rest are values. A token's place in
    the pool, which is far away, is asked for before its heads are computed.
    """
    queries, both = kinds[0], kinds[0] + kinds[1]
    tokens, count, width = heads.shape
    flat, flat_cos, flat_sin = heads.reshape(-1), cos.reshape(-1), sin.reshape(-1)
    normed, turned, written = len(q_weight) > 0, cos.shape[1] > 0, len(slots) > 0
    size, flat_keys, flat_values = kinds[1] * width, keys.reshape(-1), values.reshape(-1)
    for n in range(tokens):
        if written and slots[n] >= 0:
            for at in range(slots[n] * size, (slots[n] + 1) * size, lanes(flat)):
                prefetch(flat_keys, at)
                prefetch(flat_values, at)
        for h in range(both):
            at = (n * count + h) * width
            if normed:
                _norm(flat, at, width, q_weight if h < queries else k_weight, eps)
            if turned:
                _turn(flat, at, width // 2, flat_cos, flat_sin, n * cos.shape[1])
        if written and slots[n] >= 0:
            _copy(heads[n, queries:both].reshape(-1), keys[slots[n]].reshape(-1))
            _copy(heads[n, both:].reshape(-1), values[slots[n]].reshape(-1))


def _copy(source: Any, target: Any) -> None:
    for i in range(len(source)):
        target[i] = source[i]


def _norm(x: Any, at: Any, width: Any, weight: Any, eps: Any) -> None:
    step = lanes(x)
    whole = width // step * step
    sums = spread(x, 0.0)
    for d in range(0, whole, step):
        sums = sums + load(x, at + d) * load(x, at + d)
    square = total(sums)
    for d in range(whole, width):
        square += x[at + d] * x[at + d]
    scale = x.dtype.type(1.0 / math.sqrt(square / width + eps))
    for d in range(0, whole, step):
        store(x, at + d, load(weight, d) * (load(x, at + d) * spread(x, scale)))
    for d in range(whole, width):
        x[at + d] = weight[d] * (x[at + d] * scale)


def _turn(x: Any, at: Any, half: Any, cos: Any, sin: Any, angle: Any) -> None:
    step = lanes(x)
    whole = half // step * step
    for d in range(0, whole, step):
        first, second = load(x, at + d), load(x, at + half + d)
        c, s = load(cos, angle + d), load(sin, angle + d)
        store(x, at + d, first * c - second * s)
        store(x, at + half + d, second * c + first * s)
    for d in range(whole, half):
        first, second = x[at + d], x[at + half + d]
        c, s = cos[angle + d], sin[angle + d]
        x[at + d], x[at + half + d] = first * c - second * s, second * c + first * s


@cache
def prepare_kernel() -> Any:
    """Return the compiled loop; see :func:`_prepare` for its arguments."""
    return compiled(_prepare, _copy, _norm, _turn, intrinsics=instructions())


def prepare_qkv_numba(
    qkv: Tensor,
    kinds: tuple[int, int],
    dim: int,
    norms: HeadNorms | None,
    rotary: tuple[Tensor, Tensor] | None,
    cache: KVWrite | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of CPU tensors; see :func:`rlcore.ops.rotary.prepare_qkv`.

    Args:
        qkv: ``[..., (H + 2 K) * D]``.
        kinds: H and K.
        dim: D.
        norms: Norms of heads, or ``None``.
        rotary: Cosines and sines, or ``None``.
        cache: Where keys and values go, or ``None``.
    """
    heads = qkv.detach().contiguous().numpy().reshape(-1, qkv.shape[-1] // dim, dim).copy()
    tokens, dtype = len(heads), heads.dtype
    weights = (np.empty(0, dtype),) * 2
    cosines = (np.empty((tokens, 0), dtype),) * 2
    pools, slots = (np.empty((0, 0, 0), dtype),) * 2, np.empty(0, np.int64)
    if norms is not None:
        weights = (norms.query.detach().numpy(), norms.key.detach().numpy())
    if rotary is not None:
        cosines = (_rows(rotary[0], tokens), _rows(rotary[1], tokens))
    if cache is not None:
        slots = cache.slots.numpy()
        pools = (cache.keys.flatten(0, 1).numpy(), cache.values.flatten(0, 1).numpy())
    if tokens:
        eps = 0.0 if norms is None else norms.eps
        prepare_kernel()(heads, kinds, *weights, eps, *cosines, slots, *pools)
    shaped = torch.from_numpy(heads).view(*qkv.shape[:-1], -1, dim)
    queries, both = kinds[0], kinds[0] + kinds[1]
    return shaped[..., :queries, :], shaped[..., queries:both, :], shaped[..., both:, :]


def _rows(angles: Tensor, tokens: int) -> NDArray[Any]:
    rows: NDArray[Any] = angles.contiguous().numpy().reshape(tokens, -1)
    return rows
