"""Attention of many short rows over their own real tokens: one program holds a row's keys.

A batch of masked responses is thousands of rows of less than a tile. With one program a row and
head, scores never leave the chip and padding costs no mask of ``S x S``; and queries and keys are
rotated on their way in, where a pass of its own would read and write all of them once more.
"""

from __future__ import annotations

import math
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
HIDDEN = -1.0e30
"""Score of a key that is not seen: its weight beside any other is 0."""
QUERIES = 16
"""Queries of one step of a program, which is one warp, or two where it rotates."""


def short_row_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    real: Tensor | None,
    scale: float | None = None,
    rotary: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return softmax attention ``[B, S, H, D]``; a query that sees no key gets zeros.

    Args:
        q: ``[B, S, H, D]`` queries, ``S <= 128``.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        real: bool ``[B, S]``, true for tokens that may be seen; None for all.
        scale: Factor of the scores; ``D ** -0.5`` if not given.
        rotary: ``(cos, sin)``, each ``[B, S, D/2]``, by which queries and keys are turned first.

    Raises:
        ConfigError: The kernel cannot run here, rows are too long for it, or ``rotary`` does not
            fit.
    """
    resolve_backend("triton", q, triton_dtypes=HALF_AND_SINGLE)
    if q.shape[1] > LONGEST:
        raise ConfigError(f"short rows have at most {LONGEST} tokens, got {q.shape[1]}")
    if rotary is not None:
        wanted = (*q.shape[:2], q.shape[-1] // 2)
        if q.shape[-1] % 2 or not rotary[0].shape == rotary[1].shape == wanted:
            raise ConfigError(
                f"short rows want cos and sin of shape {wanted} (an even head width), got "
                f"{tuple(rotary[0].shape)} and {tuple(rotary[1].shape)}"
            )
    cos, sin = rotary or (None, None)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    found: Tensor = _attend(q, k, v, real, cos, sin, scale)
    return found


def _halves(  # type: ignore[no-untyped-def]
    ptr, cos_ptr, sin_ptr, token, stride, length, dim, ROTATE: tl.constexpr, HALF: tl.constexpr
):
    """Return both halves ``[T, HALF]`` of tokens' heads, rotated where asked for."""
    half = (dim + 1) // 2
    column = tl.arange(0, HALF)
    there = (token < length)[:, None] & (column < half)[None, :]
    at = token[:, None] * stride + column[None, :]
    first = tl.load(ptr + at, mask=there, other=0.0)
    second = tl.load(ptr + at + half, mask=there & (column < dim - half)[None, :], other=0.0)
    if ROTATE:
        angle = token[:, None] * half + column[None, :]
        cos = tl.load(cos_ptr + angle, mask=there, other=0.0).to(tl.float32)
        sin = tl.load(sin_ptr + angle, mask=there, other=0.0).to(tl.float32)
        a, b = first.to(tl.float32), second.to(tl.float32)
        first, second = (a * cos - b * sin).to(first.dtype), (b * cos + a * sin).to(first.dtype)
    return first, second


def _dot(a, b, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    if EXACT:
        return tl.dot(a, b, input_precision="ieee")
    return tl.dot(a, b)


def _seen(  # type: ignore[no-untyped-def]
    real_ptr, token, length, PADDED: tl.constexpr
):
    seen = token < length
    if PADDED:
        seen = seen & (tl.load(real_ptr + token, mask=seen, other=0) != 0)
    return seen[None, :]


def _short_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, real_ptr, cos_ptr, sin_ptr, out_ptr, length, heads, group, dim, scale,
    q_row, q_token, q_head, k_row, k_token, k_head, v_row, v_token, v_head,
    PADDED: tl.constexpr, ROTATE: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr,
    QUERIES: tl.constexpr, HALF: tl.constexpr, WIDTH: tl.constexpr, EXACT: tl.constexpr,
    HIDDEN: tl.constexpr,
):  # fmt: skip
    """One program a row and head.

    Keys lie in two tiles, of which the second may be short or missing: scores of 80 tokens take
    80 columns, not 128.
    """
    row = (tl.program_id(0) // heads).to(tl.int64)
    head = tl.program_id(0) % heads
    q_ptr += row * q_row + head * q_head
    k_ptr += row * k_row + head // group * k_head
    v_ptr += row * v_row + head // group * v_head
    if PADDED:
        real_ptr += row * length
    if ROTATE:
        cos_ptr += row * length * (dim // 2)
        sin_ptr += row * length * (dim // 2)
    column = tl.arange(0, WIDTH)
    key = tl.arange(0, FIRST)
    k1, k2 = _halves(k_ptr, cos_ptr, sin_ptr, key, k_token, length, dim, ROTATE, HALF)
    inside = (key < length)[:, None] & (column < dim)[None, :]
    v = tl.load(v_ptr + key[:, None] * v_token + column[None, :], mask=inside, other=0.0)
    seen = _seen(real_ptr, key, length, PADDED)
    if REST > 0:
        key = FIRST + tl.arange(0, REST)
        k3, k4 = _halves(k_ptr, cos_ptr, sin_ptr, key, k_token, length, dim, ROTATE, HALF)
        inside = (key < length)[:, None] & (column < dim)[None, :]
        more_v = tl.load(v_ptr + key[:, None] * v_token + column[None, :], mask=inside, other=0.0)
        more_seen = _seen(real_ptr, key, length, PADDED)
    for start in range(0, length, QUERIES):
        token = start + tl.arange(0, QUERIES)
        q1, q2 = _halves(q_ptr, cos_ptr, sin_ptr, token, q_token, length, dim, ROTATE, HALF)
        scores = _dot(q1, tl.trans(k1), EXACT) + _dot(q2, tl.trans(k2), EXACT)
        scores = tl.where(seen, scores * scale, HIDDEN)
        top = tl.max(scores, 1)
        if REST > 0:
            others = _dot(q1, tl.trans(k3), EXACT) + _dot(q2, tl.trans(k4), EXACT)
            others = tl.where(more_seen, others * scale, HIDDEN)
            top = tl.maximum(top, tl.max(others, 1))
        weight = tl.exp2(scores - top[:, None])
        total = tl.sum(weight, 1)
        out = _dot(weight.to(v.dtype), v, EXACT)
        if REST > 0:
            weight = tl.exp2(others - top[:, None])
            total += tl.sum(weight, 1)
            out += _dot(weight.to(v.dtype), more_v, EXACT)
        # Where nothing is seen, all scores are HIDDEN and the sum is that of all values.
        out = tl.where(top > HIDDEN, 1.0 / total, 0.0)[:, None] * out
        at = ((row * length + token[:, None]) * heads + head) * dim + column[None, :]
        here = (token < length)[:, None] & (column < dim)[None, :]
        tl.store(out_ptr + at, out.to(v.dtype), mask=here)


@cache
def _kernel() -> Any:
    return jitted(_short_kernel, _halves, _dot, _seen)


@torch.library.custom_op("rlcore::short_row_attention", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    real: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    scale: float,
) -> Tensor:
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    rows, length, heads, dim = q.shape
    out = q.new_empty(q.shape)
    if rows and length:
        strides = [x.stride(axis) for x in (q, k, v) for axis in (0, 1, 2)]
        given = (None if x is None else x.contiguous() for x in (real, cos, sin))
        first, rest = key_tiles(length)
        _kernel()[(rows * heads,)](
            q, k, v, *given, out, length, heads, heads // k.shape[2], dim,
            scale * math.log2(math.e), *strides,
            PADDED=real is not None, ROTATE=cos is not None, FIRST=first, REST=rest,
            QUERIES=QUERIES, HALF=_power_of_two((dim + 1) // 2), WIDTH=_power_of_two(dim),
            EXACT=q.dtype == torch.float32, HIDDEN=HIDDEN, num_warps=1 if cos is None else 2,
        )  # fmt: skip
    return out


def key_tiles(length: int) -> tuple[int, int]:
    """Return the sizes of two tiles that hold ``length`` keys; the second may be 0."""
    whole = _power_of_two(length)
    if length <= 16 or length > whole * 3 // 4:
        return whole, 0
    return whole // 2, _power_of_two(length - whole // 2)


def _power_of_two(number: int) -> int:
    return max(16, 1 << (number - 1).bit_length())


@_attend.register_fake
def _(q: Tensor, *_: Any) -> Tensor:
    return q.new_empty(q.shape)
