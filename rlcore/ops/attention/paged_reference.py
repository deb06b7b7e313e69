"""Paged attention as its definition: one new token, one head at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rlcore.ops.attention.paged import PagedBatch


def paged_attention_reference(
    q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float
) -> Tensor:
    """Return ``[N, H, D]``; see :func:`rlcore.ops.attention.paged.paged_attention`."""
    out = torch.zeros_like(q)
    starts = batch.query_starts.tolist()
    for row in range(batch.rows):
        listed = listed_slots(batch, row, keys.shape[1])
        new = range(starts[row], starts[row + 1])
        for i, token in enumerate(new):
            seen = listed[: max(len(listed) - len(new) + i + 1, 0)]
            if seen:
                out[token] = _one_token(q[token], keys, values, seen, scale)
    return out


def listed_slots(batch: PagedBatch, row: int, block: int) -> list[int]:
    """Return the valid pool slots of a row in listed order."""
    slots: list[int] = []
    entries = zip(batch.block_table[row].tolist(), batch.block_fill[row].tolist(), strict=True)
    for index, fill in entries:
        slots += range(index * block, index * block + fill)
    return slots


def _one_token(q: Tensor, keys: Tensor, values: Tensor, seen: list[int], scale: float) -> Tensor:
    """Return the attention of one token's heads, ``[H, D]``, over the slots it sees."""
    index = torch.tensor(seen, device=q.device)
    heads = []
    for head in range(q.shape[0]):
        kv_head = head // (q.shape[0] // keys.shape[2])
        k = keys[:, :, kv_head].flatten(0, 1)[index]
        v = values[:, :, kv_head].flatten(0, 1)[index]
        weights = torch.softmax((k @ q[head]) * scale, dim=0)
        heads.append(weights @ v)
    return torch.stack(heads)
