"""Positions of tokens where none are given."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlcore.ops.attention.masks import AttentionMask


def default_positions(ids: Tensor, mask: AttentionMask) -> Tensor:
    """Return int64 ``[B, S]``: the real tokens of each row, or document, counted from 0.

    Args:
        ids: ``[B, S]``.
        mask: Its padding and documents count; a document is a run of equal numbers.
    """
    if mask.padding is None:
        count = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand(ids.shape)
    else:
        count = mask.padding.cumsum(1)
    if mask.documents is not None:
        # What was counted before a document began is taken off; the count never falls.
        begins = F.pad(mask.documents[:, 1:] != mask.documents[:, :-1], (1, 0))
        before = F.pad(count[:, :-1], (1, 0)) * begins
        count = count - before.cummax(1).values
    return (count - 1).clamp(min=0)
