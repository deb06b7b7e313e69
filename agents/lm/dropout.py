"""Dropout around a transformer's parts, which know nothing of it."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from rlcore.nn.transformer import Transformer


def add_dropout(network: Transformer, p: float) -> None:
    """Drop a share ``p`` of the embeddings and of what each mixer and MLP adds, in training.

    Dropped entries are 0 and the others grow by ``1 / (1 - p)`` (Srivastava et al. 2014). In
    ``eval()`` mode nothing changes.
    """

    def drop(module: nn.Module, _: object, output: Any) -> Any:
        if isinstance(output, tuple):  # of a mixture of experts: what it adds, and its routing
            mixed, routed = output
            return F.dropout(mixed, p, module.training), routed
        return F.dropout(output, p, module.training)

    network.embed.register_forward_hook(drop)
    for block in network.blocks:
        block.mixer.register_forward_hook(drop)
        block.mlp.register_forward_hook(drop)
