"""Paged attention by gathered blocks and torch's fused attention: the fast path of a CPU.

Rows are taken together by the power of two of their number of new tokens, so that one long prompt
does not pad the rows that decode. The query heads of a key head are laid side by side on the query
axis: no key or value is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch


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
            out[group.tokens.flatten()] = result.flatten(0, 1)
        else:
            out[group.tokens[group.real]] = result[group.real]
    return out


def _attend(q: Tensor, keys: Tensor, values: Tensor, group: RowGroup, scale: float) -> Tensor:
    """Return the attention of one group, ``[r, Q, H, D]``."""
    rows, width = group.tokens.shape
    kv_heads, dim = keys.shape[2:]
    ratio = q.shape[1] // kv_heads
    # Head g of a key head and query i become row g * Q + i: the visibility is the same for all g.
    queries = q[group.tokens].view(rows, width, kv_heads, ratio, dim)
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
    """Sort the rows that see anything by the power of two of their number of new tokens."""
    counts = batch.query_starts.diff().long()
    busy = (counts > 0) & (batch.block_fill.sum(1) > 0)
    classes = torch.where(busy, (2 * counts - 1).clamp(min=1).log2().floor(), -1.0)
    return [
        _group(batch, (classes == size).nonzero().flatten(), counts, block)
        for size in sorted(set(classes.tolist()) - {-1.0})
    ]


def _group(batch: PagedBatch, rows: Tensor, counts: Tensor, block: int) -> RowGroup:
    counts = counts[rows]
    place = torch.arange(int(counts.max()), device=rows.device)
    real = place < counts[:, None]
    slots, totals = listed_slots(batch, rows, block)
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
