"""Split, head norms, rotation and cache write as one compiled loop (optional package numba)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.ops.numba_jit import compiled

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import KVWrite
    from rlcore.ops.rotary import HeadNorms


def _prepare(
    qkv: Any, kinds: Any, q_weight: Any, k_weight: Any, eps: Any, cos: Any, sin: Any, slots: Any,
    heads: Any, keys: Any, values: Any,
) -> None:  # fmt: skip
    """``kinds``: how many heads are queries, how many keys; the rest are values."""
    queries, both = kinds[0], kinds[0] + kinds[1]
    tokens, count, width = heads.shape
    half = width // 2
    normed, turned, written = len(q_weight) > 0, cos.shape[1] > 0, len(slots) > 0
    for n in range(tokens):
        for h in range(count):
            for d in range(width):
                heads[n, h, d] = qkv[n, h * width + d]
            if h < both and normed:
                weight = q_weight if h < queries else k_weight
                total = heads.dtype.type(0)
                for d in range(width):
                    total += heads[n, h, d] * heads[n, h, d]
                scale = heads.dtype.type(1.0 / math.sqrt(total / width + eps))
                for d in range(width):
                    heads[n, h, d] = weight[d] * (heads[n, h, d] * scale)
            if h < both and turned:
                for d in range(half):
                    first, second = heads[n, h, d], heads[n, h, d + half]
                    heads[n, h, d] = first * cos[n, d] - second * sin[n, d]
                    heads[n, h, d + half] = second * cos[n, d] + first * sin[n, d]
        if written and slots[n] >= 0:
            for k in range(kinds[1]):
                for d in range(width):
                    keys[slots[n], k, d] = heads[n, queries + k, d]
                    values[slots[n], k, d] = heads[n, both + k, d]


@cache
def prepare_kernel() -> Any:
    """Return the compiled loop; see :func:`prepare_qkv_numba` for its arguments."""
    return compiled(_prepare)


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
    flat = qkv.detach().contiguous().numpy().reshape(-1, qkv.shape[-1])
    tokens, dtype = flat.shape[0], flat.dtype
    heads = np.empty((tokens, flat.shape[1] // dim, dim), dtype)
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
        prepare_kernel()(flat, kinds, *weights, eps, *cosines, slots, heads, *pools)
    shaped = torch.from_numpy(heads).view(*qkv.shape[:-1], -1, dim)
    queries, both = kinds[0], kinds[0] + kinds[1]
    return shaped[..., :queries, :], shaped[..., queries:both, :], shaped[..., both:, :]


def _rows(angles: Tensor, tokens: int) -> NDArray[Any]:
    rows: NDArray[Any] = angles.contiguous().numpy().reshape(tokens, -1)
    return rows
