"""Join parts of a softmax by their largest scores and sums."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here


def _merge_kernel(  # type: ignore[no-untyped-def]
    acc_ptr, top_ptr, total_ptr, starts_ptr, pieces_ptr, out_ptr, heads, parts,
    D: tl.constexpr, PIECES: tl.constexpr, PARTS: tl.constexpr, DIM: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """One head of one row's new token; the first ``PIECES`` parts are there for shared pieces."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row, head = tl.program_id(0), tl.program_id(1)
    token = tl.load(starts_ptr + row)
    if tl.load(starts_ptr + row + 1) == token:
        return
    part = tl.arange(0, PARTS)
    dim = tl.arange(0, DIM)
    there = part < parts
    if PIECES > 0:
        there = there & ((part >= PIECES) | (part < tl.load(pieces_ptr + row)))
    at = (token * heads + head).to(tl.int64)
    top = tl.load(top_ptr + at * parts + part, mask=there, other=float("-inf"))
    total = tl.load(total_ptr + at * parts + part, mask=there, other=0.0)
    place = (at * parts + part)[:, None] * D + dim[None, :]
    mask = there[:, None] & (dim < D)[None, :]
    acc = tl.load(acc_ptr + place, mask=mask, other=0.0)
    highest = tl.max(top, 0)
    weight = tl.exp2(top - tl.where(highest == float("-inf"), 0.0, highest))
    sums = tl.sum(total * weight, 0)
    out = tl.sum(acc * weight[:, None], 0) / tl.where(sums == 0.0, 1.0, sums)
    tl.store(out_ptr + at * D + dim, out.to(out_ptr.dtype.element_ty), mask=dim < D)


@cache
def _kernel() -> Any:
    return jitted(_merge_kernel, release_next, wait_for_inputs)


def merge_parts(out: Tensor, room: tuple[Tensor, Tensor, Tensor], batch: PagedBatch) -> Tensor:
    """Write the joined parts to ``out`` and return it.

    Args:
        out: ``[N, H, D]``.
        room: Weighted values ``[N, H, P, D]``, largest scores (base 2) and sums ``[N, H, P]``;
            shared pieces come first.
        batch: The rows, one new token each.
    """
    _, heads, dim = out.shape
    parts, prefix = room[0].shape[2], batch.prefix
    _kernel()[(batch.rows, heads)](
        *room, batch.query_starts, None if prefix is None else prefix.pieces, out, heads, parts,
        D=dim, PIECES=0 if prefix is None else prefix.most_pieces,
        PARTS=1 << (parts - 1).bit_length(), DIM=1 << (dim - 1).bit_length(), num_warps=1,
        **launch_options(out.device),
    )  # fmt: skip
    return out
