"""Attention of many short rows over their own real tokens: one program holds a whole row.

A batch of masked responses is thousands of rows of less than a tile. With one program a row and
head, scores never leave the chip and padding costs no mask of ``S x S``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import HALF_AND_SINGLE, resolve_backend
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here
LONGEST = 128
"""Most tokens of a row that one program holds."""


def short_row_attention(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, scale: float | None = None
) -> Tensor:
    """Return bidirectional softmax attention ``[B, S, H, D]``; without a real key, zeros.

    It has no gradient. Inside a compiled model it is one opaque node.

    Args:
        q: ``[B, S, H, D]`` queries, ``S <= 128``.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        real: bool ``[B, S]``, true for tokens that may be seen; None for all.
        scale: Factor of the scores; ``D ** -0.5`` if not given.

    Raises:
        ConfigError: The kernel cannot run here, or rows are too long for it.
    """
    resolve_backend("triton", q, triton_dtypes=HALF_AND_SINGLE)
    if q.shape[1] > LONGEST:
        raise ConfigError(f"short rows have at most {LONGEST} tokens, got {q.shape[1]}")
    found: Tensor = _attend(q, k, v, real, q.shape[-1] ** -0.5 if scale is None else scale)
    return found


def _short_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, real_ptr, out_ptr, length, heads, group, dim, scale,
    q_row, q_token, q_head, k_row, k_token, k_head, v_row, v_token, v_head,
    PADDED: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """One program a row and head."""
    row = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    token, column = tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    inside = (token < length)[:, None] & (column < dim)[None, :]
    at = token[:, None] * q_token + column[None, :]
    q = tl.load(q_ptr + row * q_row + head * q_head + at, mask=inside, other=0.0)
    at = token[:, None] * k_token + column[None, :]
    k = tl.load(k_ptr + row * k_row + head // group * k_head + at, mask=inside, other=0.0)
    at = token[:, None] * v_token + column[None, :]
    v = tl.load(v_ptr + row * v_row + head // group * v_head + at, mask=inside, other=0.0)
    seen = token < length
    if PADDED:
        seen = seen & (tl.load(real_ptr + row * length + token, mask=seen, other=0) != 0)
    if EXACT:
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    else:
        scores = tl.dot(q, tl.trans(k)) * scale
    scores = tl.where(seen[None, :], scores, -1.0e30)
    weight = tl.exp(scores - tl.max(scores, 1)[:, None])
    weight = tl.where(seen[None, :], weight, 0.0)
    total = tl.sum(weight, 1)
    weight = weight / tl.where(total > 0, total, 1.0)[:, None]
    if EXACT:
        out = tl.dot(weight, v, input_precision="ieee")
    else:
        out = tl.dot(weight.to(v.dtype), v)
    at = ((row * length + token[:, None]) * heads + head) * dim + column[None, :]
    tl.store(out_ptr + at, out.to(v.dtype), mask=inside)


@cache
def _kernel() -> Any:
    return jitted(_short_kernel)


@torch.library.custom_op("rlcore::short_row_attention", mutates_args=())
def _attend(q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, scale: float) -> Tensor:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    rows, length, heads, dim = q.shape
    out = q.new_empty(q.shape)
    if rows and length:
        strides = [x.stride(axis) for x in (q, k, v) for axis in (0, 1, 2)]
        block = max(16, 1 << (length - 1).bit_length())
        padded = None if real is None else real.contiguous()
        _kernel()[(rows * heads,)](
            q, k, v, padded, out, length, heads, heads // k.shape[2], dim, scale, *strides,
            PADDED=real is not None, BLOCK=block, WIDTH=max(16, 1 << (dim - 1).bit_length()),
            EXACT=q.dtype == torch.float32, num_warps=4 if block <= 64 else 8,
        )  # fmt: skip
    return out


@_attend.register_fake
def _(q: Tensor, *_: Any) -> Tensor:
    return q.new_empty(q.shape)
