"""What decoding needs to know of a row of logits, without a softmax of the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HeadStatistics:
    """One pass over logits ``[..., V]``; every tensor is ``[...]`` in the logits' dtype.

    Attributes:
        top_id: int64, the most likely token, the first of equals.
        top: Its logit.
        second: The next largest logit; minus infinity where there is no other token.
        logsumexp: Log of the normaliser.
        entropy: Entropy in nats.
    """

    top_id: Tensor
    top: Tensor
    second: Tensor
    logsumexp: Tensor
    entropy: Tensor


def head_statistics(logits: Tensor) -> HeadStatistics:
    """Return the statistics of float32 or float64 logits ``[..., V]``; minus infinity is legal."""
    top, top_id = logits.max(-1)
    others = logits.scatter(-1, top_id[..., None], -torch.inf)
    shifted = logits - top[..., None]
    weights = shifted.exp()
    total = weights.sum(-1)
    # exp(-inf) is 0, and so is 0 log 0.
    mean = torch.where(weights > 0, weights * shifted, 0.0).sum(-1) / total
    log_total = total.log()
    return HeadStatistics(top_id, top, others.amax(-1), top + log_total, log_total - mean)
