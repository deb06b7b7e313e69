"""Softmax attention over listed tiles: kernels forward and backward (flash attention, Dao 2023).

A program reads two lists of tiles: those where every pair is visible, which it computes without a
test, and open ones, where it asks the mask's rules pair by pair. Hidden tiles are in no list.

The backward pass computes the scores again, once for the queries' gradient and once for that of
keys and values; each gradient is summed by one program in one order, so it is the same bit by bit
in every run. All heads that share a key head are summed there.

Scores are kept as powers of two, ``s * scale * log2(e)``; so is the log-sum-exp, which is ``+inf``
where a query sees nothing: every weight is then ``exp2(-inf) = 0``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.ops.attention.tiles import TILE
from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from collections.abc import Sequence

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here


@dataclass(frozen=True, slots=True)
class Launch:
    """How a kernel cuts its work: queries and keys of a step, warps, stages of the pipeline."""

    queries: int
    keys: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class Launches:
    """The launches of the forward kernel, the queries' gradient and that of keys and values."""

    forward: Launch
    queries: Launch
    keys: Launch


SINGLE = Launches(Launch(64, 32, 4, 2), Launch(64, 32, 4, 1), Launch(32, 64, 4, 1))
"""float32: products run outside the tensor cores and want small tiles."""
HALF = {
    64: Launches(Launch(64, 64, 4, 3), Launch(64, 64, 4, 3), Launch(64, 64, 4, 2)),
    128: Launches(Launch(128, 128, 8, 2), Launch(64, 64, 4, 2), Launch(64, 64, 4, 2)),
}
"""float16 and bfloat16 by the largest head size.

Measured on an H100 with intervals and with documents; cuts whose sums do not fit into the registers
cost up to five times as much.
"""


def launches_of(dtype: torch.dtype, dim: int) -> Launches:
    """Return the launches for a dtype and a head size up to 128."""
    if dtype == torch.float32:
        return SINGLE
    return HALF[64 if dim <= 64 else 128]


def _seen(  # type: ignore[no-untyped-def]
    query, key, row, documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, S,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr,
):  # fmt: skip
    """Return which pairs are visible; ``query`` and ``key`` broadcast against each other."""
    real_query = query < S
    real_key = key < S
    seen = real_query & real_key
    if CAUSAL:
        seen = seen & (key <= query)
    if DOCUMENTS:
        mine = tl.load(documents_ptr + row * S + query, mask=real_query, other=0)
        its = tl.load(documents_ptr + row * S + key, mask=real_key, other=0)
        seen = seen & (mine == its)
    if BLOCKS:
        mine = tl.load(blocks_ptr + row * S + query, mask=real_query, other=0)
        its = tl.load(blocks_ptr + row * S + key, mask=real_key, other=0)
        seen = seen & (its <= mine)
    for level in tl.static_range(LEVELS):
        at = (row * LEVELS + level) * S + query
        start = tl.load(gs_ptr + at, mask=real_query, other=0)
        stop = tl.load(ps_ptr + at, mask=real_query, other=0)
        seen = seen & ((key < start) | (key >= stop))
    if PADDING:
        seen = seen & (tl.load(padding_ptr + row * S + key, mask=real_key, other=0) != 0)
    return seen


def _rows(  # type: ignore[no-untyped-def]
    ptr, index, dim, stride, S, D: tl.constexpr, DIM: tl.constexpr, EVEN: tl.constexpr
):
    """Load rows ``[N, DIM]`` of one head; what lies outside is 0."""
    at = ptr + index[:, None] * stride + dim[None, :]
    if EVEN:
        if D == DIM:
            return tl.load(at)
        return tl.load(at, mask=(dim < D)[None, :], other=0.0)
    return tl.load(at, mask=(index < S)[:, None] & (dim < D)[None, :], other=0.0)


def _forward_tiles(  # type: ignore[no-untyped-def]
    acc, top, total, q, query, row, k_ptr, v_ptr, list_ptr, count,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, stride, S,
    D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr, OPEN: tl.constexpr,
):  # fmt: skip
    """Take the keys of listed tiles into the running softmax."""
    dim = tl.arange(0, DIM)
    steps: tl.constexpr = TILE // K
    for step in range(count * steps):
        key = tl.load(list_ptr + step // steps) * TILE + (step % steps) * K + tl.arange(0, K)
        k = _rows(k_ptr, key, dim, stride, S, D, DIM, EVEN)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        if OPEN:
            seen = _seen(
                query[:, None], key[None, :], row, documents_ptr, blocks_ptr, gs_ptr, ps_ptr,
                padding_ptr, S, CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING,
            )  # fmt: skip
            scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1) * scale)
        safe = higher
        if OPEN:
            safe = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores * scale - safe[:, None])
        decay = tl.exp2(top - safe)
        total = total * decay + tl.sum(weights, 1)
        v = _rows(v_ptr, key, dim, stride, S, D, DIM, EVEN)
        acc = tl.dot(weights.to(v.dtype), v, acc * decay[:, None], input_precision="ieee")
        top = higher
    return acc, top, total


def _forward_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, full_ptr, fulls_ptr, open_ptr, opens_ptr,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, S, T,
    H: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr,
    Q: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr,
):  # fmt: skip
    """One step of queries of one head: output and log-sum-exp."""
    portions = tl.cdiv(S, Q)
    pair = tl.program_id(0) // portions  # one axis for all: the others end at 65,535
    portion = portions - 1 - tl.program_id(0) % portions  # late queries see most: they begin
    row, head = pair // H, pair % H
    query = portion * Q + tl.arange(0, Q)
    dim = tl.arange(0, DIM)
    tile = row * T + portion * Q // TILE
    start = row.to(tl.int64) * S * H * D
    shared = row.to(tl.int64) * S * (H // RATIO) * D + (head // RATIO) * D
    q = _rows(q_ptr + start + head * D, query, dim, H * D, S, D, DIM, EVEN)
    top = tl.full((Q,), float("-inf"), tl.float32)
    total = tl.zeros((Q,), tl.float32)
    acc = tl.zeros((Q, DIM), tl.float32)
    acc, top, total = _forward_tiles(
        acc, top, total, q, query, row, k_ptr + shared, v_ptr + shared, full_ptr + tile * T,
        tl.load(fulls_ptr + tile), documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
        scale, (H // RATIO) * D, S, D, DIM, TILE, K, EVEN,
        CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, False,
    )  # fmt: skip
    acc, top, total = _forward_tiles(
        acc, top, total, q, query, row, k_ptr + shared, v_ptr + shared, open_ptr + tile * T,
        tl.load(opens_ptr + tile), documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
        scale, (H // RATIO) * D, S, D, DIM, TILE, K, EVEN,
        CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, True,
    )  # fmt: skip
    blind = total == 0.0
    out = acc / tl.where(blind, 1.0, total)[:, None]
    at = start + head * D + query[:, None] * (H * D) + dim[None, :]
    inside = query < S
    tl.store(out_ptr + at, out.to(q.dtype), mask=inside[:, None] & (dim < D)[None, :])
    lse = tl.where(blind, float("inf"), top + tl.log2(tl.where(blind, 1.0, total)))
    tl.store(lse_ptr + pair * S + query, lse, mask=inside)


def _query_tiles(  # type: ignore[no-untyped-def]
    acc, q, slope, lse, delta, query, row, k_ptr, v_ptr, list_ptr, count,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, stride, S,
    D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr, OPEN: tl.constexpr,
):  # fmt: skip
    """Add what the keys of listed tiles give to the queries' gradient."""
    dim = tl.arange(0, DIM)
    steps: tl.constexpr = TILE // K
    for step in range(count * steps):
        key = tl.load(list_ptr + step // steps) * TILE + (step % steps) * K + tl.arange(0, K)
        k = _rows(k_ptr, key, dim, stride, S, D, DIM, EVEN)
        v = _rows(v_ptr, key, dim, stride, S, D, DIM, EVEN)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        weights = tl.exp2(scores * scale - lse[:, None])
        if OPEN:
            seen = _seen(
                query[:, None], key[None, :], row, documents_ptr, blocks_ptr, gs_ptr, ps_ptr,
                padding_ptr, S, CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING,
            )  # fmt: skip
            weights = tl.where(seen, weights, 0.0)
        change = weights * (tl.dot(slope, tl.trans(v), input_precision="ieee") - delta[:, None])
        acc = tl.dot(change.to(k.dtype), k, acc, input_precision="ieee")
    return acc


def _query_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, out_ptr, slope_ptr, lse_ptr, delta_ptr, dq_ptr,
    full_ptr, fulls_ptr, open_ptr, opens_ptr,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, factor, S, T,
    H: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr,
    Q: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr,
):  # fmt: skip
    """One step of queries of one head: their gradient, and ``delta = out . slope``."""
    portions = tl.cdiv(S, Q)
    pair = tl.program_id(0) // portions
    portion = portions - 1 - tl.program_id(0) % portions
    row, head = pair // H, pair % H
    query = portion * Q + tl.arange(0, Q)
    dim = tl.arange(0, DIM)
    tile = row * T + portion * Q // TILE
    start = row.to(tl.int64) * S * H * D + head * D
    shared = row.to(tl.int64) * S * (H // RATIO) * D + (head // RATIO) * D
    inside = query < S
    q = _rows(q_ptr + start, query, dim, H * D, S, D, DIM, EVEN)
    slope = _rows(slope_ptr + start, query, dim, H * D, S, D, DIM, EVEN)
    out = _rows(out_ptr + start, query, dim, H * D, S, D, DIM, EVEN)
    delta = tl.sum(out.to(tl.float32) * slope.to(tl.float32), 1)
    tl.store(delta_ptr + pair * S + query, delta, mask=inside)
    lse = tl.load(lse_ptr + pair * S + query, mask=inside, other=float("inf"))
    acc = tl.zeros((Q, DIM), tl.float32)
    acc = _query_tiles(
        acc, q, slope, lse, delta, query, row, k_ptr + shared, v_ptr + shared,
        full_ptr + tile * T, tl.load(fulls_ptr + tile),
        documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
        scale, (H // RATIO) * D, S, D, DIM, TILE, K, EVEN,
        CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, False,
    )  # fmt: skip
    acc = _query_tiles(
        acc, q, slope, lse, delta, query, row, k_ptr + shared, v_ptr + shared,
        open_ptr + tile * T, tl.load(opens_ptr + tile),
        documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
        scale, (H // RATIO) * D, S, D, DIM, TILE, K, EVEN,
        CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, True,
    )  # fmt: skip
    at = start + query[:, None] * (H * D) + dim[None, :]
    here = inside[:, None] & (dim < D)[None, :]
    tl.store(dq_ptr + at, (acc * factor).to(q.dtype), mask=here)


def _key_tiles(  # type: ignore[no-untyped-def]
    dk, dv, k, v, key, row, q_ptr, slope_ptr, lse_ptr, delta_ptr, list_ptr, count,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, stride, S,
    D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, Q: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr, OPEN: tl.constexpr,
):  # fmt: skip
    """Add what the queries of listed tiles give to the gradients of keys and values."""
    dim = tl.arange(0, DIM)
    steps: tl.constexpr = TILE // Q
    for step in range(count * steps):
        query = tl.load(list_ptr + step // steps) * TILE + (step % steps) * Q + tl.arange(0, Q)
        q = _rows(q_ptr, query, dim, stride, S, D, DIM, EVEN)
        slope = _rows(slope_ptr, query, dim, stride, S, D, DIM, EVEN)
        lse = tl.load(lse_ptr + query, mask=query < S, other=float("inf"))
        delta = tl.load(delta_ptr + query, mask=query < S, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision="ieee")
        weights = tl.exp2(scores * scale - lse[None, :])
        if OPEN:
            seen = _seen(
                query[None, :], key[:, None], row, documents_ptr, blocks_ptr, gs_ptr, ps_ptr,
                padding_ptr, S, CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING,
            )  # fmt: skip
            weights = tl.where(seen, weights, 0.0)
        dv = tl.dot(weights.to(slope.dtype), slope, dv, input_precision="ieee")
        change = weights * (tl.dot(v, tl.trans(slope), input_precision="ieee") - delta[None, :])
        dk = tl.dot(change.to(q.dtype), q, dk, input_precision="ieee")
    return dk, dv


def _key_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, slope_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    full_ptr, fulls_ptr, open_ptr, opens_ptr,
    documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr, scale, factor, S, T,
    H: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr,
    Q: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr,
    CAUSAL: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCKS: tl.constexpr, LEVELS: tl.constexpr,
    PADDING: tl.constexpr,
):  # fmt: skip
    """One step of keys of one key head: its gradients, over all query heads that share it."""
    portions = tl.cdiv(S, K)
    pair = tl.program_id(0) // portions
    portion = tl.program_id(0) % portions  # early keys are seen most: they begin
    heads: tl.constexpr = H // RATIO
    row, kv_head = pair // heads, pair % heads
    key = portion * K + tl.arange(0, K)
    dim = tl.arange(0, DIM)
    tile = row * T + portion * K // TILE
    shared = row.to(tl.int64) * S * heads * D + kv_head * D
    k = _rows(k_ptr + shared, key, dim, heads * D, S, D, DIM, EVEN)
    v = _rows(v_ptr + shared, key, dim, heads * D, S, D, DIM, EVEN)
    dk = tl.zeros((K, DIM), tl.float32)
    dv = tl.zeros((K, DIM), tl.float32)
    for member in range(RATIO):
        head = kv_head * RATIO + member
        start = row.to(tl.int64) * S * H * D + head * D
        line = (row * H + head) * S
        dk, dv = _key_tiles(
            dk, dv, k, v, key, row, q_ptr + start, slope_ptr + start, lse_ptr + line,
            delta_ptr + line, full_ptr + tile * T, tl.load(fulls_ptr + tile),
            documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
            scale, H * D, S, D, DIM, TILE, Q, EVEN,
            CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, False,
        )  # fmt: skip
        dk, dv = _key_tiles(
            dk, dv, k, v, key, row, q_ptr + start, slope_ptr + start, lse_ptr + line,
            delta_ptr + line, open_ptr + tile * T, tl.load(opens_ptr + tile),
            documents_ptr, blocks_ptr, gs_ptr, ps_ptr, padding_ptr,
            scale, H * D, S, D, DIM, TILE, Q, EVEN,
            CAUSAL, DOCUMENTS, BLOCKS, LEVELS, PADDING, True,
        )  # fmt: skip
    at = shared + key[:, None] * (heads * D) + dim[None, :]
    here = (key < S)[:, None] & (dim < D)[None, :]
    tl.store(dk_ptr + at, (dk * factor).to(k.dtype), mask=here)
    tl.store(dv_ptr + at, dv.to(v.dtype), mask=here)


@cache
def _kernels() -> tuple[Any, Any, Any]:
    forward = jitted(_forward_kernel, _seen, _rows, _forward_tiles)
    queries = jitted(_query_kernel, _seen, _rows, _query_tiles)
    return forward, queries, jitted(_key_kernel, _seen, _rows, _key_tiles)


def tiled_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lists: Sequence[Tensor],
    rules: Sequence[Tensor | None],
    causal: bool,
    scale: float,
    launch: Launch | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the output ``[B, S, H, D]`` and the log-sum-exp, base 2, float32 ``[B, H, S]``.

    Args:
        q: ``[B, S, H, D]``, contiguous like ``k`` and ``v`` ``[B, S, K, D]``; one dtype.
        k: Keys.
        v: Values.
        lists: For each query tile ``(full, fulls, open, opens)``: see
            :class:`~rlcore.ops.attention.tiles.TileLists`.
        rules: ``(documents, blocks, gs, ps, padding)``, int32 and contiguous, or ``None``.
        causal: Whether the mask is causal too.
        scale: Factor of the scores.
        launch: How the work is cut; by default what the dtype and head size say.
    """
    rows, length, heads, dim = q.shape
    out = torch.empty_like(q)
    lse = q.new_empty(rows, heads, length, dtype=torch.float32)
    launch = launch or launches_of(q.dtype, dim).forward
    _kernels()[0][(_portions(length, launch.queries) * rows * heads,)](
        q, k, v, out, lse, *lists, *rules, scale * math.log2(math.e), length, lists[0].shape[-1],
        **_constants(q, k, rules, causal, launch),
    )  # fmt: skip
    return out, lse


def tiled_backward(
    slope: Tensor,
    saved: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    lists: Sequence[Tensor],
    rules: Sequence[Tensor | None],
    causal: bool,
    scale: float,
    launches: Launches | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``q``, ``k`` and ``v``.

    Args:
        slope: Gradient of the output, contiguous.
        saved: ``(q, k, v, out, lse)``.
        lists: Those of query tiles, then those of key tiles.
        rules: As for :func:`tiled_forward`, like the other arguments.
        causal: See there.
        scale: See there.
        launches: See there.
    """
    q, k, v, out, lse = saved
    rows, length, heads, dim = q.shape
    launches = launches or launches_of(q.dtype, dim)
    delta = torch.empty_like(lse)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    numbers = (scale * math.log2(math.e), scale, length, lists[0].shape[-1])
    launch = launches.queries
    _kernels()[1][(_portions(length, launch.queries) * rows * heads,)](
        q, k, v, out, slope, lse, delta, dq, *lists[:4], *rules, *numbers,
        **_constants(q, k, rules, causal, launch),
    )  # fmt: skip
    launch = launches.keys
    _kernels()[2][(_portions(length, launch.keys) * rows * k.shape[2],)](
        q, k, v, slope, lse, delta, dk, dv, *lists[4:], *rules, *numbers,
        **_constants(q, k, rules, causal, launch),
    )  # fmt: skip
    return dq, dk, dv


def _portions(length: int, step: int) -> int:
    return -(-length // step)


def _constants(
    q: Tensor, k: Tensor, rules: Sequence[Tensor | None], causal: bool, launch: Launch
) -> dict[str, Any]:
    documents, blocks, gs, _, padding = rules
    heads, dim = q.shape[2:]
    return {
        "H": heads, "RATIO": heads // k.shape[2], "D": dim,
        "DIM": max(16, 1 << (dim - 1).bit_length()), "TILE": TILE,
        "Q": launch.queries, "K": launch.keys, "EVEN": q.shape[1] % TILE == 0,
        "CAUSAL": causal, "DOCUMENTS": documents is not None, "BLOCKS": blocks is not None,
        "LEVELS": 0 if gs is None else gs.shape[1], "PADDING": padding is not None,
        "num_warps": launch.warps, "num_stages": launch.stages,
    }  # fmt: skip
