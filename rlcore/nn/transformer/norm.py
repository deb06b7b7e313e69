"""Norms of the residual stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.nn.transformer.config import TransformerConfig


def rms_norm(x: Tensor, weight: Tensor, eps: float, float32: bool = False) -> Tensor:
    """Return ``weight * x / sqrt(mean(x^2) + eps)`` over the last axis (Zhang and Sennrich 2019).

    Args:
        x: ``[..., D]``.
        weight: ``[D]``.
        eps: Added to the mean square.
        float32: Whether the statistics of float64 are taken in float32 too; those of half
            precision always are.
    """
    wide = x if x.dtype == torch.float64 and not float32 else x.float()
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    # Under autocast the weight is wider than the tokens, which keep their dtype.
    return (weight * normed.to(x.dtype)).to(x.dtype)


class RMSNorm(nn.Module):
    """See :func:`rms_norm`."""

    def __init__(self, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.norm_eps
        self.float32 = config.float32_statistics

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``[..., D]``."""
        return rms_norm(x, self.weight, self.eps, self.float32)


class LayerNorm(nn.Module):
    """Layer norm without bias (Ba et al. 2016)."""

    def __init__(self, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``[..., D]``."""
        return F.layer_norm(x, x.shape[-1:], self.weight, None, self.eps)


NORMS: dict[str, Callable[[int, TransformerConfig], nn.Module]] = {
    "rms": RMSNorm,
    "layer": LayerNorm,
}
