"""Losses of language models, on log-probabilities of the true tokens of ``[B, S]`` rows.

Causal models: the mean negative log-likelihood of the next token. Masked-diffusion models (Sahoo et
al. 2024, arXiv 2406.07524; Nie et al. 2025, "LLaDA", arXiv 2502.09992): tokens are replaced by MASK
with a probability ``p`` of their row and predicted from what is left; the weight ``1/p`` makes the
mean an upper bound of the negative log-likelihood.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rlcore.learners.base import LossOutput

EPS = 1e-3
"""Smallest probability of a mask."""

Normalise = Literal["batch", "response"]


def causal_lm_loss(log_probs: Tensor, targets: Tensor) -> LossOutput:
    """Return ``-mean log p(x_{i+1} | x_{<=i})`` over the positions that have a target.

    Args:
        log_probs: ``[B, S]`` log-probability of the token after each position.
        targets: ``[B, S]`` bool, false where there is none to predict: after a document's last
            token, before a prompt's tokens, on padding.
    """
    weight = targets.sum(dtype=torch.float32)
    total = -log_probs.masked_fill(~targets, 0.0).sum()
    return LossOutput(total / weight.clamp(min=1.0), weight)


# -- the forward process of masked diffusion ----------------------------------------------------


def stratified_times(rows: int, u: Tensor) -> Tensor:
    """Return ``t_b = (b + u) / B``: each row is uniform in [0, 1), together they cover it evenly.

    Args:
        rows: ``B``.
        u: Scalar, uniform in [0, 1).
    """
    return (torch.arange(rows, dtype=u.dtype, device=u.device) + u) / rows


def random_length(uniforms: Tensor, share: float, length: int) -> int:
    """Return the tokens of a row that a batch keeps: mostly all of them, else any number.

    Args:
        uniforms: ``[2]``, independent and uniform in [0, 1).
        share: Probability of a number uniform in ``1..length``.
        length: ``S``.
    """
    first, second = uniforms.tolist()
    return 1 + int(second * length) if first < share else length


def mask_probability(t: Tensor, eps: float = EPS) -> Tensor:
    """Return ``p = (1 - eps) t + eps``, the probability that a token is masked at time ``t``."""
    return (1.0 - eps) * t + eps


def mask_tokens(uniforms: Tensor, p: Tensor, targets: Tensor) -> Tensor:
    """Return which tokens are masked: each target by itself, with probability ``p`` of its row.

    Args:
        uniforms: ``[B, S]``, independent and uniform in [0, 1).
        p: ``[B]``.
        targets: ``[B, S]`` bool, the response with its EOS padding; prompts are never masked.
    """
    return (uniforms < p.unsqueeze(-1)) & targets


def uniform_counts(uniforms: Tensor, targets: Tensor) -> Tensor:
    """Return ``l ~ Uniform{1..L_b}`` for rows of ``L_b`` targets, int64 ``[B]``; 0 where none.

    Args:
        uniforms: ``[B]``, uniform in [0, 1).
        targets: ``[B, S]`` bool.
    """
    lengths = targets.sum(-1)
    counts = (uniforms * lengths).floor().long() + 1
    return torch.minimum(counts, lengths)


def mask_exactly(uniforms: Tensor, counts: Tensor, targets: Tensor) -> Tensor:
    """Return a mask of exactly ``counts`` targets of each row, every such set equally likely.

    Args:
        uniforms: ``[B, S]``, independent and uniform in [0, 1): the order in which tokens go.
        counts: ``[B]``.
        targets: ``[B, S]`` bool.
    """
    order = uniforms.masked_fill(~targets, math.inf).argsort(dim=-1, stable=True)
    rank = torch.empty_like(order).scatter_(
        -1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order)
    )
    return (rank < counts.unsqueeze(-1)) & targets


def masked_diffusion_loss(
    log_probs: Tensor,
    masked: Tensor,
    p: Tensor,
    targets: Tensor,
    *,
    normalise: Normalise = "batch",
) -> LossOutput:
    """Return the bound ``mean_b (1/L_b) sum_{i masked} -log p(x_i | masked x) / p_b``.

    Args:
        log_probs: ``[B, S]`` log-probability of the true token at each position; only those of
            masked positions count.
        masked: ``[B, S]`` bool, from :func:`mask_tokens`.
        p: ``[B]``, the probability that a token of the row was masked.
        targets: ``[B, S]`` bool, the tokens that could have been masked.
        normalise: ``batch`` divides by all targets of the batch, so that each token counts equally
            (d1); ``response`` by those of its own row, so that each row does (LLaDA).
    """
    return _weighted(log_probs, masked, 1.0 / p, targets, normalise)


def exact_count_loss(
    log_probs: Tensor,
    masked: Tensor,
    counts: Tensor,
    targets: Tensor,
    *,
    normalise: Normalise = "batch",
) -> LossOutput:
    """Return ``mean_b (1/L_b) (L_b / l_b) sum_{i masked} -log p(x_i | masked x)``.

    With ``l_b`` masks drawn by :func:`uniform_counts` and :func:`mask_exactly` it has the
    expectation of :func:`masked_diffusion_loss` at ``eps = 0`` and a smaller variance (LLaDA,
    eq. 6): the estimate of the likelihood for evaluation. Arguments as there; ``counts`` is ``l``.
    """
    lengths = targets.sum(-1).to(log_probs.dtype)
    return _weighted(log_probs, masked, lengths / counts.clamp(min=1), targets, normalise)


def _weighted(
    log_probs: Tensor, masked: Tensor, scale: Tensor, targets: Tensor, normalise: Normalise
) -> LossOutput:
    rows = -(log_probs.masked_fill(~masked, 0.0).sum(-1)) * scale
    lengths = targets.sum(-1)
    if normalise == "batch":
        weight = lengths.sum(dtype=torch.float32)
        return LossOutput(rows.sum() / weight.clamp(min=1.0), weight)
    weight = (lengths > 0).sum(dtype=torch.float32)
    return LossOutput((rows / lengths.clamp(min=1)).sum() / weight.clamp(min=1.0), weight)
