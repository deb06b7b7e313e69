"""The Gaussian with diagonal covariance over actions ``[..., A]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def sample(mean: Tensor, log_std: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one action for each row.

    Args:
        mean: ``[..., A]``.
        log_std: ``[..., A]``, or ``[A]`` where all rows share it.
        generator: Source of the normal numbers, on the device of ``mean``.

    Returns:
        ``(action, log_prob)``: ``[..., A]`` and ``[...]``, the joint log-density of all ``A``.
    """
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    action = mean + log_std.exp() * noise
    return action, log_prob(mean, log_std, action)


def mode(mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and its log-density."""
    return mean, log_prob(mean, log_std, mean)


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Return the joint log-density ``[...]`` of ``action``."""
    scaled = (action - mean) * (-log_std).exp()
    return -(0.5 * scaled.square() + log_std + _HALF_LOG_2PI).sum(-1)


def entropy(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the entropy in nats, ``[...]``: the sum of ``(log(2 pi s^2) + 1) / 2``."""
    return (log_std + (0.5 + _HALF_LOG_2PI)).expand_as(mean).sum(-1)
