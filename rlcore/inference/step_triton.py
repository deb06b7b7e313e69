"""What a decode step does to its rows as CUDA kernels.

Rows that the host has changed are placed, all rows advance, drawn tokens are written down.

What is one line of numpy on the host is a dozen kernels of a few rows each in torch, and each of
them costs a step about two microseconds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.inference.rows import NORMAL
from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from rlcore.inference.device_rows import DeviceRows
    from rlcore.ops.sampling import Sampled

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here
ROWS = 64
"""Rows of a program."""


def _place_kernel(  # type: ignore[no-untyped-def]
    sent_ptr, fields_ptr, lists_ptr, rows,
    WIDTH: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Each program places the fields of a changed row, or the lists of a listed one, as words.

    The numbers of rows come with the words, as other arguments would each be compiled for.
    """
    changed = tl.load(sent_ptr)
    listed = tl.load(sent_ptr + 1)
    longs_ptr = sent_ptr + 2
    numbers_ptr = longs_ptr + 6 * changed
    program = tl.program_id(0)
    lane = tl.arange(0, LANES)
    row = tl.load(numbers_ptr + program)
    if program < changed:
        words = tl.where(
            lane < 6, (lane // 2) * 2 * changed + 2 * program + lane % 2,
            (lane + 1) * changed + listed + program,  # behind the longs and all numbers of rows
        )  # fmt: skip
        places = tl.where(
            lane < 6, (lane // 2) * 2 * rows + 2 * row + lane % 2, lane * rows + row
        )  # fmt: skip
        mask = lane < 12
        tl.store(fields_ptr + places, tl.load(longs_ptr + words, mask=mask), mask=mask)
    else:
        entries_ptr = numbers_ptr + 7 * changed + listed + (program - changed) * WIDTH
        for half in tl.static_range(2):
            entries = tl.load(entries_ptr + half * listed * WIDTH + lane, mask=lane < WIDTH)
            tl.store(lists_ptr + (half * rows + row) * WIDTH + lane, entries, mask=lane < WIDTH)


def _advance_kernel(  # type: ignore[no-untyped-def]
    active_ptr, tail_ptr, position_ptr, table_ptr, fill_ptr, positions_ptr, slots_ptr, count, width,
    BLOCK: tl.constexpr, NORMAL: tl.constexpr, ROWS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Each lane is a row: :meth:`rlcore.inference.rows.RowTable.advance`."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = row < count
    active = tl.load(active_ptr + row, mask=mask, other=0)
    tail = tl.load(tail_ptr + row, mask=mask, other=0)
    position = tl.load(position_ptr + row, mask=mask, other=0)
    writes = active == NORMAL
    busy = active > 0
    first = row.to(tl.int64) * width
    used = tl.load(fill_ptr + first + tail, mask=mask, other=0)
    full = writes & (used >= BLOCK)
    tail += full.to(tl.int32)
    # The entry behind a full one is listed already, and empty.
    filled = tl.load(fill_ptr + first + tail, mask=mask, other=0) + writes.to(tl.int32)
    block = tl.load(table_ptr + first + tail, mask=mask, other=0).to(tl.int64)
    slot = tl.where(writes, block * BLOCK + filled - 1, -1)
    tl.store(tail_ptr + row, tail, mask=mask)
    tl.store(fill_ptr + first + tail, filled, mask=mask & writes)
    tl.store(slots_ptr + row, slot, mask=mask)
    tl.store(positions_ptr + row, position, mask=mask)
    tl.store(position_ptr + row, position + busy.to(tl.int64), mask=mask)
    tl.store(active_ptr + row, busy.to(tl.int32), mask=mask)


def _record_kernel(  # type: ignore[no-untyped-def]
    drawn_ptr, log_probs_ptr, raw_ptr, token_ptr, out_ptr, count, stride,
    ROWS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Tokens for the next step, and for the host with both log-probabilities as bits."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = row < count
    drawn = tl.load(drawn_ptr + row, mask=mask, other=0)
    log_prob = tl.load(log_probs_ptr + row, mask=mask, other=0.0)
    raw = tl.load(raw_ptr + row, mask=mask, other=0.0)
    tl.store(token_ptr + row, drawn, mask=mask)
    tl.store(out_ptr + row, drawn.to(tl.int32), mask=mask)
    tl.store(out_ptr + stride + row, log_prob.to(tl.int32, bitcast=True), mask=mask)
    tl.store(out_ptr + 2 * stride + row, raw.to(tl.int32, bitcast=True), mask=mask)


@cache
def _kernels() -> tuple[Any, Any]:
    early = (release_next, wait_for_inputs)
    return jitted(_advance_kernel, *early), jitted(_record_kernel, *early)


def place_triton(rows: DeviceRows, sent: Tensor, changed: int, listed: int) -> None:
    """Write what the host sent into the fields and block lists.

    Args:
        rows: The rows; their width is that of the lists sent.
        sent: int32 words, one part behind the other: the two counts that follow, three fields of
            int64 ``[3, changed]``, the numbers of the changed and of the listed rows, the fields
            of int32 and float32, and the lists ``[2, listed, W]``.
        changed: Rows whose fields were sent.
        listed: Rows whose block lists were sent.
    """
    if changed + listed:
        jitted(_place_kernel)[(changed + listed,)](
            sent, rows.words, rows.lists(rows.width), len(rows.host.active),
            WIDTH=rows.width, LANES=max(rows.width, 16), num_warps=1,
        )  # fmt: skip


def advance_triton(
    rows: DeviceRows, count: int, table: Tensor, fill: Tensor
) -> tuple[Tensor, Tensor]:
    """Advance the first ``count`` rows in place.

    Args:
        rows: The rows.
        count: How many.
        table: int32 ``[count, W]``, contiguous.
        fill: Likewise.

    Returns:
        Positions and slots of the tokens that are fed, int64 ``[count]``.
    """
    fed = torch.empty(2, count, dtype=torch.int64, device=rows.position.device)
    _kernels()[0][(-(-count // ROWS),)](
        rows.active, rows.tail, rows.position, table, fill, fed[0], fed[1], count, table.shape[1],
        BLOCK=rows.host.block_size, NORMAL=NORMAL, ROWS=ROWS, num_warps=2,
        **launch_options(fed.device),
    )  # fmt: skip
    return fed[0], fed[1]


def record_triton(drawn: Sampled, token: Tensor, out: Tensor) -> None:
    """Write what the first rows drew.

    Args:
        drawn: Of ``n`` rows; log-probabilities are float32.
        token: int64 ``[R]``: what the rows feed next.
        out: int32 ``[3, R]``: tokens, and the bits of both log-probabilities.
    """
    count = len(drawn.tokens)
    _kernels()[1][(-(-count // ROWS),)](
        drawn.tokens, drawn.log_probs, drawn.raw_log_probs, token, out, count, out.stride(0),
        ROWS=ROWS, num_warps=2, **launch_options(out.device),
    )  # fmt: skip
