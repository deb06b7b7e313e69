"""Log-probabilities of given tokens from features, without the float32 logits of a whole batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CHUNK_ENTRIES = 1 << 26
"""Logits computed at a time."""


def token_log_probs(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """Return ``log softmax(hidden weight^T)`` at ``tokens``, in float32 (float64 for float64).

    Args:
        hidden: ``[..., D]``.
        weight: ``[V, D]``.
        tokens: ``[...]`` int64.
    """
    flat, ids = hidden.reshape(-1, hidden.shape[-1]), tokens.reshape(-1)
    size = max(1, CHUNK_ENTRIES // len(weight))
    if len(flat) <= size:
        return _chunk(flat, weight, ids).view(tokens.shape)
    parts = [
        checkpoint(_chunk, h, weight, i, use_reentrant=False, preserve_rng_state=False)
        for h, i in zip(flat.split(size), ids.split(size), strict=True)
    ]
    return torch.cat(parts).view(tokens.shape)


def _chunk(hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    logits = F.linear(hidden, weight)
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return -F.cross_entropy(wide, ids, reduction="none")
