"""Sums over the rows of a batch that are transitions; the others count for exactly nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def count_valid(valid: Tensor) -> Tensor:
    """Return how many rows are valid, as a float32 scalar."""
    return valid.sum(dtype=torch.float32)


def masked_mean(x: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Return the mean of ``x`` over the valid rows; zero where there are none.

    Invalid rows enter neither the value nor the gradient, whatever they hold.

    Args:
        x: ``[T, B]``.
        valid: ``[T, B]`` bool.
        count: Scalar, ``count_valid(valid)``.
    """
    return x.masked_fill(~valid, 0.0).sum() / count.clamp(min=1.0)


def normalize(advantages: Tensor, valid: Tensor, count: Tensor, eps: float = 1e-8) -> Tensor:
    """Return advantages with mean 0 and (population) standard deviation 1 over the valid rows."""
    centred = advantages - masked_mean(advantages, valid, count)
    scale = masked_mean(centred.square(), valid, count).sqrt() + eps
    return centred / scale


def bootstrap_before_invalid(truncated: Tensor, valid: Tensor) -> Tensor:
    """Return ``truncated`` extended to rows whose successor is not a transition.

    Where a fragment was closed early its rest is padding: the last transition before it
    bootstraps with the value of the next observation, like at the fragment's end.

    Args:
        truncated: ``[T, B]`` bool.
        valid: ``[T, B]`` bool.
    """
    extended = truncated.clone()
    extended[:-1] |= ~valid[1:]
    return extended
