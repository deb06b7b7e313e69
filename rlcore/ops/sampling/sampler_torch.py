"""The sampler in whole-tensor torch operations: the fast path of a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlcore.ops.sampling.counter_rng import gumbel, token_bits

if TYPE_CHECKING:
    from rlcore.ops.sampling.sampler import SamplingRows


def sample_torch(logits: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens and log-probabilities; see :func:`rlcore.ops.sampling.sampler.sample`."""
    greedy = rows.temperature == 0
    scores = (
        _penalised(logits, rows) / rows.temperature.masked_fill(greedy, 1.0).to(logits)[:, None]
    )
    if rows.top_k is not None or rows.top_p is not None:
        scores = _truncated(scores, rows)
    noise = gumbel(token_bits(rows.keys, rows.positions, logits.shape[1]))
    tokens = torch.where(greedy[:, None], scores, scores + noise).argmax(1)
    picked = tokens[:, None]
    log_probs = scores.gather(1, picked)[:, 0] - scores.logsumexp(1)
    raw = logits.gather(1, picked)[:, 0] - logits.logsumexp(1)
    return tokens, log_probs.masked_fill(greedy, 0.0), raw


def _penalised(logits: Tensor, rows: SamplingRows) -> Tensor:
    if rows.penalty is None or rows.seen is None:
        return logits
    bits = torch.arange(32, device=logits.device, dtype=torch.int32)
    seen = ((rows.seen[:, :, None] >> bits) & 1).flatten(1)[:, : logits.shape[1]].bool()
    penalty = rows.penalty.to(logits)[:, None]
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _truncated(scores: Tensor, rows: SamplingRows) -> Tensor:
    """Return the scores with minus infinity for what top-k and top-p take away."""
    ordered = scores.sort(1, descending=True).values
    vocab = scores.shape[1]
    if rows.top_k is not None:
        k = torch.where(rows.top_k > 0, rows.top_k, vocab).clamp(max=vocab).long()
        least = ordered.gather(1, k[:, None] - 1)
        ordered = ordered.masked_fill(ordered < least, -torch.inf)
        scores = scores.masked_fill(scores < least, -torch.inf)
    if rows.top_p is not None:
        weights = ordered.softmax(1)
        # Mass of strictly larger scores: that of the first among equals.
        first = torch.searchsorted(-ordered, -ordered)
        above = (weights.cumsum(1) - weights).gather(1, first)
        keep = (above < rows.top_p.to(scores)[:, None]) | (rows.top_p >= 1)[:, None]
        least = ordered.masked_fill(~keep, torch.inf).amin(1, keepdim=True)
        scores = scores.masked_fill(scores < least, -torch.inf)
    return scores
