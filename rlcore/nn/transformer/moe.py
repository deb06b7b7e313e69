"""A mixture of SwiGLU experts, and the record of which tokens went where.

Legend: ``N`` tokens, ``E`` experts, ``K`` experts of a token, ``F`` width of an expert.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.nn.transformer.config import MoeConfig, TransformerConfig
from rlcore.ops.routing import Routed, balance_loss, route
from rlcore.ops.swiglu import silu_mul


class Routing:
    """The experts of one forward pass, layer by layer: recorded, or replayed from an earlier one.

    Experts chosen by slightly other weights, or by another kernel, are other experts; a learner
    that replays the actor's choice computes the log-probabilities of the same function.

    Args:
        replay: int ``[..., K]`` by layer, to be used instead of the router's choice.
    """

    def __init__(self, replay: Mapping[int, Tensor] | None = None) -> None:
        self.replay = dict(replay or {})
        self.experts: dict[int, Tensor] = {}
        """int64 ``[..., K]`` by layer, as used."""
        self.probabilities: dict[int, Tensor] = {}
        """``[..., E]`` by layer; they carry the gradient of :meth:`balance_loss`."""

    @classmethod
    def from_table(cls, table: Tensor, config: TransformerConfig) -> Routing:
        """Return a replay of :meth:`table`'s answer."""
        layers = moe_layers(config)
        if table.dim() < 3 or table.shape[-2] != len(layers):
            raise ConfigError(
                f"a routing table of this model wants [..., {len(layers)}, K], got "
                f"{tuple(table.shape)}"
            )
        return cls({layer: table[..., index, :] for index, layer in enumerate(layers)})

    def table(self) -> Tensor:
        """Return the experts as int16 ``[..., layers, K]``, to be stored with the tokens."""
        return torch.stack([self.experts[i] for i in sorted(self.experts)], -2).to(torch.int16)

    def balance_loss(self, valid: Tensor | None = None) -> Tensor:
        """Return the mean over layers of :func:`rlcore.ops.routing.balance_loss`.

        Args:
            valid: bool ``[...]``, the tokens that count.
        """
        layers = [
            balance_loss(self.probabilities[i], self.experts[i], valid) for i in self.probabilities
        ]
        if not layers:
            raise ConfigError("no forward pass of a model with experts was recorded")
        return torch.stack(layers).mean()


def moe_layers(config: TransformerConfig) -> list[int]:
    """Return the indices of the layers that have experts."""
    moe = config.mlp
    if not isinstance(moe, MoeConfig):
        return []
    return [layer for layer in range(config.layers) if layer not in moe.dense_layers]


class MixtureOfExperts(nn.Module):
    """``sum_k weight_k * SwiGLU_{expert_k}(x)``.

    ``gate_up`` is ``[E, 2 F, D]`` and ``down`` ``[E, D, F]``.
    """

    def __init__(self, config: TransformerConfig, moe: MoeConfig) -> None:
        super().__init__()
        hidden = config.expert_size
        self.top_k, self.normalise = moe.top_k, moe.norm_topk_prob
        self.float32 = config.float32_statistics
        self.router = nn.Linear(config.dim, moe.experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(moe.experts, 2 * hidden, config.dim))
        self.down = nn.Parameter(torch.empty(moe.experts, config.dim, hidden))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Routed]:
        """Return ``[..., D]`` and where the tokens went; ``chosen`` replays ``[..., K]``."""
        want = (*x.shape[:-1], self.top_k)
        if chosen is not None and chosen.shape != want:
            raise ConfigError(f"replayed experts want shape {want}, got {tuple(chosen.shape)}")
        routed = route(
            self.router(x), self.top_k, normalise=self.normalise, float32=self.float32,
            chosen=chosen,
        )  # fmt: skip
        mixed = mix_experts(
            x.flatten(0, -2),
            routed.experts.flatten(0, -2),
            routed.weights.flatten(0, -2),
            self.gate_up,
            self.down,
        )
        return mixed.view(x.shape), routed


def mix_experts(
    x: Tensor, experts: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor
) -> Tensor:
    """Return ``[N, D]``: the weighted sum of each token's experts.

    Tokens are sorted by expert, so that each expert multiplies one contiguous piece; the sum runs
    over a token's experts in their order, without atomics. On a GPU in bfloat16 all experts are one
    grouped product, without waiting for the host.

    Args:
        x: ``[N, D]``.
        experts: int64 ``[N, K]``.
        weights: ``[N, K]``.
        gate_up: ``[E, 2 F, D]``.
        down: ``[E, D, F]``.
    """
    count = experts.shape[-1]
    order = experts.flatten().argsort(stable=True)
    sizes = F.one_hot(experts.flatten(), gate_up.shape[0]).sum(0)
    rows = x[order // count]
    if x.is_cuda and x.dtype == torch.bfloat16:
        ends = sizes.cumsum(0).to(torch.int32)
        up = silu_mul(F.grouped_mm(rows, gate_up.to(x.dtype).transpose(1, 2), offs=ends))
        out = F.grouped_mm(up, down.to(x.dtype).transpose(1, 2), offs=ends)
    else:
        pieces = [
            F.linear(silu_mul(F.linear(piece, first)), second)
            for piece, first, second in zip(
                torch.split(rows, sizes.tolist()), gate_up, down, strict=True
            )
        ]
        out = torch.cat(pieces)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    return (out[back].view(*experts.shape, -1) * weights.unsqueeze(-1)).sum(1)
