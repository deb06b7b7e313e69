"""Paged attention as CUDA kernels (package triton, part of CUDA builds of torch).

Decoding reads each key once: a program takes a row, a key head and a part of the row's list, and
serves all query heads of the key head. Parts are joined by their log-sum-exp; so is what a group of
rows shares, which is read once for the group (cascade attention; Juravsky et al. 2024,
arXiv 2402.05099). Rows with several new tokens take tiles of queries instead.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.ops.attention.merge_triton import merge_parts
from rlcore.ops.attention.paged_sizes_triton import (
    EXTEND_TILE,
    QUERY_TILE,
    SHARED_QUERIES,
    SHARED_TILE,
    WARP_ELEMENTS,
    fitting_tile,
    own_parts,
    own_tile,
    power_of_two,
)
from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here
SHARED_WARPS = 4
"""Warps of a program that serves a group of rows."""


def _slots_of_tile(  # type: ignore[no-untyped-def]
    table_ptr, fill_ptr, first, last, BLOCK: tl.constexpr, TILE: tl.constexpr
):
    """Return the pool slots that list entries from ``first`` on cover, and which are filled."""
    place = tl.arange(0, TILE)
    entry = first + place // BLOCK
    inside = (place < (TILE // BLOCK) * BLOCK) & (entry < last)
    block = tl.load(table_ptr + entry, mask=inside, other=0)
    filled = place % BLOCK < tl.load(fill_ptr + entry, mask=inside, other=0)
    return block.to(tl.int64) * BLOCK + place % BLOCK, filled


def _attend_tile(  # type: ignore[no-untyped-def]
    q, k, v, seen, scale, top, total, acc, ONE: tl.constexpr
):
    """Take keys and values ``[T, D]`` into the running softmax of queries ``[Q, D]``."""
    if ONE:
        scores = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1)[None, :] * scale
    else:
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    scores = tl.where(seen, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1))
    safe = tl.where(higher == float("-inf"), 0.0, higher)
    weights = tl.exp2(scores - safe[:, None])
    decay = tl.exp2(top - safe)
    total = total * decay + tl.sum(weights, 1)
    if ONE:
        added = tl.sum(tl.trans(weights) * v.to(tl.float32), 0)[None, :]
    else:
        added = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    return higher, total, acc * decay[:, None] + added


def _entries_used(fill_ptr, width, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return one more than the last list entry in use."""
    entry = tl.arange(0, WIDTH)
    fill = tl.load(fill_ptr + entry, mask=entry < width, other=0)
    return tl.max(tl.where(fill > 0, entry + 1, 0), 0)


def _decode_kernel(  # type: ignore[no-untyped-def]
    q_ptr, keys_ptr, values_ptr, table_ptr, fill_ptr, starts_ptr, skip_ptr, pieces_ptr,
    out_ptr, acc_ptr, top_ptr, total_ptr, scale, width, all_parts,
    K: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    PIECES: tl.constexpr, WHOLE: tl.constexpr,
    QUERIES: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """One row's new token, one key head, one part of what the row sees by itself.

    Behind a kernel of up to ``PIECES`` shared pieces a row, a program that reads all of the row's
    own part takes the pieces' results in.
    """
    release_next(EARLY)
    if PIECES == 0:  # else that kernel has waited for the inputs before it let this one start
        wait_for_inputs(EARLY)
    # Heads vary fastest: those of a row lie side by side in the pool.
    kv_head, row, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    token = tl.load(starts_ptr + row)
    if tl.load(starts_ptr + row + 1) == token:
        if PIECES > 0:
            wait_for_inputs(EARLY)
        return
    table_ptr += row * width
    fill_ptr += row * width
    begin = tl.load(skip_ptr + row) if PIECES > 0 else 0
    count = tl.load(pieces_ptr + row) if PIECES > 0 else 0
    last = _entries_used(fill_ptr, width, WIDTH)
    entries: tl.constexpr = TILE // BLOCK
    tiles = tl.cdiv(tl.maximum(last - begin, 0), entries)
    share = tl.cdiv(tiles, tl.num_programs(2))
    dim = tl.arange(0, DIM)
    query = tl.arange(0, QUERIES)
    head = kv_head * RATIO + query
    at = (token * K * RATIO + head).to(tl.int64)[:, None] * D + dim[None, :]
    mine = (query < RATIO)[:, None] & (dim < D)[None, :]
    q = tl.load(q_ptr + at, mask=mine, other=0.0)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    acc = tl.zeros((QUERIES, DIM), tl.float32)
    for tile in range(part * share, tl.minimum((part + 1) * share, tiles)):
        first = begin + tile * entries
        slots, filled = _slots_of_tile(table_ptr, fill_ptr, first, last, BLOCK, TILE)
        place = (slots * K + kv_head)[:, None] * D + dim[None, :]
        loaded = filled[:, None] & (dim < D)[None, :]
        k = tl.load(keys_ptr + place, mask=loaded, other=0.0)
        v = tl.load(values_ptr + place, mask=loaded, other=0.0)
        top, total, acc = _attend_tile(
            q, k, v, filled[None, :], scale, top, total, acc, QUERIES == 1
        )
    if PIECES > 0:
        wait_for_inputs(EARLY)  # now for the pieces; whoever waits for this kernel has them too
        if WHOLE:
            for piece in tl.static_range(PIECES):
                there = (query < RATIO) & (query * 0 + piece < count)
                slot = (token * K * RATIO + head).to(tl.int64) * all_parts + piece
                its_top = tl.load(top_ptr + slot, mask=there, other=float("-inf"))
                its_total = tl.load(total_ptr + slot, mask=there, other=0.0)
                loaded = there[:, None] & (dim < D)[None, :]
                its = tl.load(acc_ptr + slot[:, None] * D + dim[None, :], mask=loaded, other=0.0)
                higher = tl.maximum(top, its_top)
                safe = tl.where(higher == float("-inf"), 0.0, higher)
                decay, weight = tl.exp2(top - safe), tl.exp2(its_top - safe)
                total = total * decay + its_total * weight
                acc = acc * decay[:, None] + its * weight[:, None]
                top = higher
    if WHOLE:
        out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
        tl.store(out_ptr + at, out.to(q.dtype), mask=mine)
    else:
        slot = (token * K * RATIO + head).to(tl.int64) * all_parts + PIECES + part
        tl.store(acc_ptr + slot[:, None] * D + dim[None, :], acc, mask=mine)
        tl.store(top_ptr + slot, top, mask=query < RATIO)
        tl.store(total_ptr + slot, total, mask=query < RATIO)


def _piece_kernel(  # type: ignore[no-untyped-def]
    q_ptr, keys_ptr, values_ptr, table_ptr, fill_ptr, starts_ptr, members_ptr, bounds_ptr,
    place_ptr, acc_ptr, top_ptr, total_ptr, scale, width, members, all_parts,
    K: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    QUERIES: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A tile of the query heads of a piece's members, one key head, the blocks of the piece."""
    wait_for_inputs(EARLY)
    # The next kernel does not wait for the inputs: it starts when all programs have come to here.
    release_next(EARLY)
    kv_head, piece = tl.program_id(0), tl.program_id(1)
    dim = tl.arange(0, DIM)
    query = tl.program_id(2) * QUERIES + tl.arange(0, QUERIES)
    members_ptr += piece * members
    # All that depends on no other load is asked for at once: waiting is what takes the time here.
    first, last = tl.load(bounds_ptr + 2 * piece), tl.load(bounds_ptr + 2 * piece + 1)
    leader, number = tl.load(members_ptr), tl.load(place_ptr + piece)
    row = tl.load(members_ptr + query // RATIO, mask=query < members * RATIO, other=-1)
    if first == last:
        return
    table_ptr += leader * width
    fill_ptr += leader * width
    token = tl.load(starts_ptr + row, mask=row >= 0, other=0)
    token = tl.where(tl.load(starts_ptr + row + 1, mask=row >= 0, other=0) > token, token, -1)
    head = (token * K + kv_head) * RATIO + query % RATIO
    at = head.to(tl.int64)[:, None] * D + dim[None, :]
    decodes = (token >= 0) & (row >= 0)
    mine = decodes[:, None] & (dim < D)[None, :]
    q = tl.load(q_ptr + at, mask=mine, other=0.0)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    acc = tl.zeros((QUERIES, DIM), tl.float32)
    for entry in range(first, last, TILE // BLOCK):
        slots, filled = _slots_of_tile(table_ptr, fill_ptr, entry, last, BLOCK, TILE)
        place = (slots * K + kv_head)[:, None] * D + dim[None, :]
        loaded = filled[:, None] & (dim < D)[None, :]
        k = tl.load(keys_ptr + place, mask=loaded, other=0.0)
        v = tl.load(values_ptr + place, mask=loaded, other=0.0)
        top, total, acc = _attend_tile(q, k, v, filled[None, :], scale, top, total, acc, False)
    slot = head.to(tl.int64) * all_parts + number
    tl.store(acc_ptr + slot[:, None] * D + dim[None, :], acc, mask=mine)
    tl.store(top_ptr + slot, top, mask=decodes)
    tl.store(total_ptr + slot, total, mask=decodes)


def _extend_kernel(  # type: ignore[no-untyped-def]
    q_ptr, keys_ptr, values_ptr, table_ptr, fill_ptr, starts_ptr, out_ptr, scale, width,
    K: tl.constexpr, RATIO: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    QUERIES: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """A tile of a row's new tokens and their heads, one key head."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    kv_head, portion, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start = tl.load(starts_ptr + row)
    new = tl.load(starts_ptr + row + 1) - start
    if portion * QUERIES >= new * RATIO:
        return
    table_ptr += row * width
    fill_ptr += row * width
    entry = tl.arange(0, WIDTH)
    fill = tl.load(fill_ptr + entry, mask=entry < width, other=0)
    query = portion * QUERIES + tl.arange(0, QUERIES)
    newest = tl.sum(fill, 0) - new + query // RATIO  # rank of the last slot a query sees
    before = tl.cumsum(fill, 0) - fill
    reached = (fill > 0) & (before <= tl.max(newest, 0))
    last = tl.max(tl.where(reached, entry + 1, 0), 0)
    entries: tl.constexpr = TILE // BLOCK
    dim = tl.arange(0, DIM)
    head = ((start + query // RATIO) * K + kv_head) * RATIO + query % RATIO
    at = head.to(tl.int64)[:, None] * D + dim[None, :]
    mine = (query < new * RATIO)[:, None] & (dim < D)[None, :]
    q = tl.load(q_ptr + at, mask=mine, other=0.0)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    acc = tl.zeros((QUERIES, DIM), tl.float32)
    passed = 0
    for tile in range(tl.cdiv(last, entries)):
        slots, filled = _slots_of_tile(table_ptr, fill_ptr, tile * entries, last, BLOCK, TILE)
        rank = passed + tl.cumsum(filled.to(tl.int32), 0) - 1
        passed += tl.sum(filled.to(tl.int32), 0)
        place = (slots * K + kv_head)[:, None] * D + dim[None, :]
        loaded = filled[:, None] & (dim < D)[None, :]
        k = tl.load(keys_ptr + place, mask=loaded, other=0.0)
        v = tl.load(values_ptr + place, mask=loaded, other=0.0)
        seen = filled[None, :] & (rank[None, :] <= newest[:, None])
        top, total, acc = _attend_tile(q, k, v, seen, scale, top, total, acc, False)
    out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out_ptr + at, out.to(q.dtype), mask=mine)


@cache
def _kernels() -> tuple[Any, Any, Any]:
    parts = (_slots_of_tile, _attend_tile, release_next, wait_for_inputs)
    decode = jitted(_decode_kernel, *parts, _entries_used)
    return decode, jitted(_piece_kernel, *parts), jitted(_extend_kernel, *parts)


def paged_attention_triton(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    q, keys, values = q.contiguous(), keys.contiguous(), values.contiguous()
    batch = _packed(batch)
    if batch.max_query > 1:
        return _extend(q, keys, values, batch, scale)
    if batch.prefix is not None:
        return _decode_shared(q, keys, values, batch, scale)
    return _decode(q, keys, values, batch, scale)


def _packed(batch: PagedBatch) -> PagedBatch:
    """Return a batch without gaps between numbers: kernels read one after the other."""
    names = ("query_starts", "block_table", "block_fill")
    gaps = [name for name in names if not getattr(batch, name).is_contiguous()]
    return (
        replace(batch, **{name: getattr(batch, name).contiguous() for name in gaps})
        if gaps
        else batch
    )


def _decode(q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    parts = own_parts(q, keys, batch)
    out = torch.empty_like(q)
    room = None if parts == 1 else parts_room(q, parts)
    _launch_decode(q, keys, values, batch, scale, out, room, parts)
    return out if room is None else merge_parts(out, room, batch)


def _decode_shared(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Read shared blocks once for a group, the others a row at a time; join by log-sum-exp."""
    prefix = batch.prefix
    if prefix is None:
        raise ValueError("no prefix")
    _, block, kv_heads, dim = keys.shape
    count, members = prefix.members.shape
    parts = own_parts(q, keys, batch)
    room = parts_room(q, prefix.most_pieces + parts)
    ratio = q.shape[1] // kv_heads
    queries = min(SHARED_QUERIES, power_of_two(members * ratio, 16))
    _kernels()[1][(kv_heads, count, -(-members * ratio // queries))](
        q, keys, values, batch.block_table, batch.block_fill, batch.query_starts,
        prefix.members, prefix.bounds, prefix.place, *room, scale * math.log2(math.e),
        batch.block_table.shape[1], members, prefix.most_pieces + parts,
        K=kv_heads, RATIO=ratio, D=dim, BLOCK=block,
        QUERIES=queries, DIM=power_of_two(dim, 16), TILE=fitting_tile(keys, queries, SHARED_TILE),
        num_warps=SHARED_WARPS, **launch_options(q.device),
    )  # fmt: skip
    out = torch.empty_like(q)
    _launch_decode(q, keys, values, batch, scale, out, room, parts)
    return out if parts == 1 else merge_parts(out, room, batch)


def _launch_decode(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    batch: PagedBatch,
    scale: float,
    out: Tensor,
    room: tuple[Tensor, Tensor, Tensor] | None,
    parts: int,
) -> None:
    """Launch the decode kernel for a number of parts, with the shared pieces where there are."""
    _, block, kv_heads, dim = keys.shape
    ratio = q.shape[1] // kv_heads
    width, prefix = batch.block_table.shape[1], batch.prefix
    shared = (None, None) if prefix is None else (prefix.skip, prefix.pieces)
    pieces = 0 if prefix is None else prefix.most_pieces
    tile, width_of_head = own_tile(q, keys), power_of_two(dim, 16)
    _kernels()[0][(kv_heads, batch.rows, parts)](
        q, keys, values, batch.block_table, batch.block_fill, batch.query_starts,
        *shared, out, *(room or (None, None, None)),
        scale * math.log2(math.e), width, pieces + parts,
        K=kv_heads, RATIO=ratio, D=dim, BLOCK=block, PIECES=pieces, WHOLE=parts == 1,
        QUERIES=1 if ratio == 1 else max(16, power_of_two(ratio)), DIM=width_of_head, TILE=tile,
        WIDTH=power_of_two(width), num_warps=min(max(tile * width_of_head // WARP_ELEMENTS, 1), 8),
        **launch_options(q.device),
    )  # fmt: skip


def _extend(q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    _, block, kv_heads, dim = keys.shape
    ratio = q.shape[1] // kv_heads
    width = batch.block_table.shape[1]
    queries = min(QUERY_TILE, max(16, power_of_two(batch.max_query * ratio)))
    out = torch.empty_like(q)
    _kernels()[2][(kv_heads, -(-batch.max_query * ratio // queries), batch.rows)](
        q, keys, values, batch.block_table, batch.block_fill, batch.query_starts, out,
        scale * math.log2(math.e), width,
        K=kv_heads, RATIO=ratio, D=dim, BLOCK=block,
        QUERIES=queries, DIM=power_of_two(dim, 16),
        TILE=fitting_tile(keys, queries, EXTEND_TILE), WIDTH=power_of_two(width), num_warps=4,
        **launch_options(q.device),
    )  # fmt: skip
    return out


def parts_room(q: Tensor, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return room for the parts: weighted values, largest scores and sums, all float32."""
    acc = q.new_empty(*q.shape[:2], parts, q.shape[2], dtype=torch.float32)
    return acc, acc.new_empty(acc.shape[:3]), acc.new_empty(acc.shape[:3])
