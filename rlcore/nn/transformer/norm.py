"""Norms of the residual stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.nn.transformer.config import TransformerConfig
from rlcore.ops.norm import rms_norm


class RMSNorm(nn.Module):
    """See :func:`rlcore.ops.norm.rms_norm`."""

    def __init__(self, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.norm_eps
        self.float32 = config.float32_statistics

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``[..., D]``."""
        return rms_norm(x, self.weight, self.eps, float32=self.float32)


class LayerNorm(nn.Module):
    """Layer norm without bias (Ba et al. 2016)."""

    def __init__(self, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``[..., D]``."""
        return F.layer_norm(x, x.shape[-1:], self.weight.to(x.dtype), None, self.eps)


NORMS: dict[str, Callable[[int, TransformerConfig], nn.Module]] = {
    "rms": RMSNorm,
    "layer": LayerNorm,
}
