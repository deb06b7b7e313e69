"""Paged attention by gathered blocks and torch's fused attention: the fast path of a CPU.

Rows are taken together by the power of two of their number of new tokens, so that one long prompt
does not pad the rows that decode, and a few at a time, so that what is gathered is still in the
core's cache when it is used. A row whose slots follow each other in the pool is not gathered at
all. The query heads of a key head are laid side by side on the query axis: no key or value is
repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch


GATHERED_SLOTS = 512
"""Slots gathered at a time on a CPU: 2 MiB of float32 keys and values at a model width of 512."""
VIEWED_SLOTS = 128
"""Rows of at least this many consecutive slots are attended in place, one at a time."""


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Rows of alike many new tokens, padded to a rectangle of queries and one of slots.

    Padding repeats what the row sees anyway: a slot that nobody wrote may hold NaN, which a weight
    of zero would let through.

    Attributes:
        tokens: int64 ``[r, Q]``, packed index of each query; padding repeats the row's first.
        real: bool ``[r, Q]``, or ``None`` where no query is padded.
        slots: int64 ``[r * T]``, pool slots in listed order; padding repeats the row's last.
        first: The first slot where all of them follow each other in the pool, else ``None``.
        visible: bool ``[r, 1, Q, T]``, or ``None`` where every query sees every slot.
    """

    tokens: Tensor
    real: Tensor | None
    slots: Tensor
    first: int | None
    visible: Tensor | None

    def gather(self, pool: Tensor) -> Tensor:
        """Return ``[r, K, T, D]`` of a pool; a view where the slots follow each other."""
        flat = pool.flatten(0, 1)
        if self.first is None:
            flat = flat.index_select(0, self.slots)
        else:
            flat = flat.narrow(0, self.first, self.slots.shape[0])
        return flat.view(self.tokens.shape[0], -1, *pool.shape[2:]).transpose(1, 2)


def paged_attention_torch(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    block = keys.shape[1]
    if block not in batch.plans:
        batch.plans[block] = row_groups(batch, block)
    out = torch.zeros_like(q)
    for group in batch.plans[block]:
        result = _attend(q, keys, values, group, scale)
        if group.real is None:
            out.index_copy_(0, group.tokens.flatten(), result.flatten(0, 1))
        else:
            out[group.tokens[group.real]] = result[group.real]
    return out


def _attend(q: Tensor, keys: Tensor, values: Tensor, group: RowGroup, scale: float) -> Tensor:
    """Return the attention of one group, ``[r, Q, H, D]``."""
    rows, width = group.tokens.shape
    kv_heads, dim = keys.shape[2:]
    ratio = q.shape[1] // kv_heads
    # Head g of a key head and query i become row g * Q + i: the visibility is the same for all g.
    queries = q.index_select(0, group.tokens.flatten()).view(rows, width, kv_heads, ratio, dim)
    queries = queries.permute(0, 2, 3, 1, 4).reshape(rows, kv_heads, ratio * width, dim)
    visible = group.visible
    if visible is not None and width > 1 and ratio > 1:
        visible = visible.repeat(1, 1, ratio, 1)
    out = scaled_dot_product_attention(
        queries, group.gather(keys), group.gather(values), attn_mask=visible, scale=scale
    )
    out = out.view(rows, kv_heads, ratio, width, dim).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, width, kv_heads * ratio, dim)


def row_groups(batch: PagedBatch, block: int) -> list[RowGroup]:
    """Divide the rows that see anything into groups that are attended at once."""
    counts, totals = batch.query_starts.diff().long(), batch.block_fill.sum(1)
    busy = (counts > 0) & (totals > 0)
    classes = torch.where(busy, (2 * counts - 1).clamp(min=1).log2().floor(), -1.0)
    groups = []
    for size in sorted(set(classes.tolist()) - {-1.0}):
        rows = (classes == size).nonzero().flatten()
        rows = rows[totals[rows].argsort(stable=True)]
        slots, seen = listed_slots(batch, rows, block)
        for start, stop in _portions(slots, seen):
            part = slice(start, stop)
            width = int(seen[stop - 1])
            groups.append(_group(batch, rows[part], counts, slots[part, :width], seen[part]))
    return groups


def _portions(slots: Tensor, seen: Tensor) -> list[tuple[int, int]]:
    """Return the bounds of what is attended at once, of rows sorted by what they see."""
    if slots.device.type != "cpu":
        return [(0, len(seen))]
    rank = torch.arange(1, slots.shape[1])
    in_place = ((slots.diff() == 1) | (rank >= seen[:, None])).all(1) & (seen >= VIEWED_SLOTS)
    bounds, start = [], 0
    for row, (total, alone) in enumerate(zip(seen.tolist(), in_place.tolist(), strict=True)):
        if row > start and (alone or (row + 1 - start) * total > GATHERED_SLOTS):
            bounds.append((start, row))
            start = row
        if alone:
            bounds.append((row, row + 1))
            start = row + 1
    return bounds if start == len(seen) else [*bounds, (start, len(seen))]


def _group(
    batch: PagedBatch, rows: Tensor, counts: Tensor, slots: Tensor, totals: Tensor
) -> RowGroup:
    counts = counts[rows]
    place = torch.arange(int(counts.max()), device=rows.device)
    real = place < counts[:, None]
    newest = (totals - counts)[:, None] + place  # rank of the last slot a query sees
    rank = torch.arange(slots.shape[1], device=rows.device)
    visible = rank <= newest[:, :, None]
    flat = slots.flatten()
    consecutive = len(rows) == 1 and bool((flat.diff() == 1).all())
    return RowGroup(
        tokens=batch.query_starts[rows].long()[:, None] + place * real,
        real=None if bool(real.all()) else real,
        slots=flat,
        first=int(flat[0]) if consecutive else None,
        visible=None if bool(visible.all()) else visible[:, None],
    )


def listed_slots(batch: PagedBatch, rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return the valid slots of rows in listed order, and how many each row has.

    Returns:
        int64 ``[r, T]``, padded by each row's last one, and int64 ``[r]``.
    """
    table, fill = batch.block_table[rows].long(), batch.block_fill[rows].long()
    ends = fill.cumsum(1)
    totals = ends[:, -1]
    rank = torch.arange(int(totals.max()), device=rows.device)
    rank = torch.minimum(rank, totals[:, None] - 1)
    entry = torch.searchsorted(ends, rank, right=True)
    offset = rank - (ends - fill).gather(1, entry)
    return table.gather(1, entry) * block + offset, totals
