"""Routing of tokens to experts: the choice, its weights, the loss that keeps experts balanced.

Legend: ``E`` experts, ``K`` experts that a token uses; ``...`` any token axes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Routed(NamedTuple):
    """Where tokens go.

    Attributes:
        probabilities: ``[..., E]``, the router's softmax.
        experts: int64 ``[..., K]``, the chosen ones.
        weights: ``[..., K]``, of the logits' dtype.
    """

    probabilities: Tensor
    experts: Tensor
    weights: Tensor


def route(
    logits: Tensor,
    top_k: int,
    *,
    normalise: bool,
    float32: bool = False,
    chosen: Tensor | None = None,
) -> Routed:
    """Return the ``top_k`` most probable experts of each token and their weights.

    Args:
        logits: ``[..., E]``.
        top_k: ``K``.
        normalise: Whether the weights are scaled to sum to one.
        float32: Whether the softmax of float64 logits is taken in float32 too; that of half
            precision always is.
        chosen: int ``[..., K]``, the choice of an earlier pass, replayed: the weights are the
            present probabilities of those experts, and only they carry a gradient.
    """
    wide = logits.dtype if logits.dtype == torch.float64 and not float32 else torch.float32
    probabilities = logits.softmax(-1, dtype=wide)
    experts = probabilities.topk(top_k, -1).indices if chosen is None else chosen.long()
    weights = probabilities.gather(-1, experts)
    if normalise:
        weights = weights / weights.sum(-1, keepdim=True)
    return Routed(probabilities, experts, weights.to(logits.dtype))


def balance_loss(probabilities: Tensor, experts: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return ``E * sum_e f_e P_e``; 1 when all experts are used alike.

    ``f_e`` is the share of all choices that fell on expert e and ``P_e`` the mean of its
    probability (Fedus et al. 2021, arXiv 2101.03961, equations 4-6; shares of choices instead of
    tokens, so that the scale does not depend on ``K``).

    Args:
        probabilities: ``[..., E]``.
        experts: int ``[..., K]``.
        valid: bool ``[...]``, the tokens that count; all if not given.
    """
    count = probabilities.shape[-1]
    weight = torch.ones_like(probabilities[..., 0]) if valid is None else valid
    weight = weight.to(probabilities.dtype).unsqueeze(-1)
    total = weight.sum().clamp(min=1.0)
    mean = (probabilities * weight).flatten(0, -2).sum(0) / total
    choices = weight.expand(experts.shape).flatten()
    share = choices.new_zeros(count).index_add(0, experts.flatten().long(), choices)
    return count * (share / (total * experts.shape[-1]) * mean).sum()
