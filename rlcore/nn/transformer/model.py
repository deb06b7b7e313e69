"""The transformer: embeddings, pre-norm blocks of mixer and MLP, a last norm, the head.

Legend: ``B`` rows, ``S`` tokens of a row, ``N`` packed tokens, ``D`` width, ``V`` vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rlcore.errors import ConfigError
from rlcore.nn.transformer.config import MoeConfig, TransformerConfig
from rlcore.nn.transformer.init import initialize
from rlcore.nn.transformer.memory import Memory
from rlcore.nn.transformer.mixers import MIXERS, Attention, Context
from rlcore.nn.transformer.mlp import SwiGLU
from rlcore.nn.transformer.moe import MixtureOfExperts, Routing
from rlcore.nn.transformer.norm import NORMS, RMSNorm
from rlcore.nn.transformer.positions import default_positions
from rlcore.nn.transformer.rotary import Rotary
from rlcore.ops.attention.dense import AttentionBackend, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.backends import HALF_AND_SINGLE
from rlcore.ops.fused_linear import linear_add, norm_gated_linear, norm_linear
from rlcore.ops.routing import Routed


class Block(nn.Module):
    """``x + mixer(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        norm, moe = NORMS[config.norm], config.mlp
        self.mixer_norm = norm(config.dim, config)
        self.mixer = MIXERS[config.mixer.type](config, layer)
        self.mlp_norm = norm(config.dim, config)
        self.mlp: MixtureOfExperts | SwiGLU
        if isinstance(moe, MoeConfig) and layer not in moe.dense_layers:
            self.mlp = MixtureOfExperts(config, moe)
        else:
            self.mlp = SwiGLU(config.dim, config.hidden_size)

    def forward(
        self, x: Tensor, context: Context, chosen: Tensor | None = None
    ) -> tuple[Tensor, Routed | None]:
        """Return the residual stream after the block, and where its experts' tokens went."""
        x = self._mixed(x, context)
        if isinstance(self.mlp, MixtureOfExperts):
            more, routed = self.mlp(self.mlp_norm(x), chosen)
            return x + more, routed
        if context.fused and isinstance(self.mlp_norm, RMSNorm):
            norm, mlp, rows = self.mlp_norm, self.mlp, x.flatten(0, -2)
            gated = norm_gated_linear(rows, norm.weight, norm.eps, mlp.gate_up.weight)
            return linear_add(gated, mlp.down.weight, rows, overwrite=True).view_as(x), None
        return x + self.mlp(self.mlp_norm(x)), None

    def _mixed(self, x: Tensor, context: Context) -> Tensor:
        norm, mixer = self.mixer_norm, self.mixer
        if context.fused and isinstance(norm, RMSNorm) and isinstance(mixer, Attention):
            qkv, rows = mixer.qkv, x.flatten(0, -2)
            projected = norm_linear(rows, norm.weight, norm.eps, qkv.weight, qkv.bias)
            mixed = mixer.mix(projected.view(*x.shape[:-1], -1), context).flatten(0, -2)
            return linear_add(mixed, mixer.out.weight, rows, overwrite=True).view_as(x)
        return x + mixer(norm(x), context)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """The one definition of a transformer, for training and for generation.

    Args:
        config: Its shape.

    Attributes:
        recompute: Whether the activations inside blocks are computed again in the backward pass
            instead of being kept.
        attention_backend: See :mod:`rlcore.ops.attention.dense`; calls with a memory do not use it.
        attention_dropout: Share of the attention's weights that is dropped in training mode.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        self.attention_backend: AttentionBackend = "auto"
        self.attention_dropout = 0.0
        self.embed = nn.Embedding(config.vocab_size, config.dim)
        self.position_embeds = nn.ModuleList(
            nn.Embedding(max(table) + 1, config.dim) for table in config.position_tables
        )
        for index, table in enumerate(config.position_tables):
            rows = torch.tensor(table, device="cpu")
            self.register_buffer(f"position_table{index}", rows, persistent=False)
        self.rotary = Rotary(config) if config.rope else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = NORMS[config.norm](config.dim, config)
        self.lm_head = (
            None if config.tie_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        )
        initialize(self, config)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: AttentionMask | None = None,
        padding: Tensor | None = None,
        memory: Memory | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """Return logits ``[..., S, V]``; arguments as for :meth:`hidden`."""
        return self.head(
            self.hidden(
                ids,
                positions=positions,
                mask=mask,
                padding=padding,
                memory=memory,
                routing=routing,
            )
        )

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: AttentionMask | None = None,
        padding: Tensor | None = None,
        memory: Memory | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """Return the tokens' features after the last norm, ``[..., S, D]``.

        Args:
            ids: int64 ``[B, S]``; with a memory, packed ``[N]``.
            positions: Integers of the shape of ``ids``; by default they count from the first real
                token of a row, or of a document. A memory wants them given.
            mask: Which keys each query sees; by default ``config.causal`` says it.
            padding: bool ``[B, S]``, true for real tokens: the others are not seen by any.
            memory: Keys and values of earlier tokens.
            routing: Records the experts that tokens use, or replays them.

        Raises:
            ConfigError: Arguments do not fit each other.
        """
        rows = None if memory is not None else self._mask(ids, mask, padding)
        if rows is None and (positions is None or mask is not None or padding is not None):
            raise ConfigError("a call with a memory wants positions, and neither mask nor padding")
        if positions is None:
            self._check_length(ids)
            positions = default_positions(ids, rows or AttentionMask())
        x = self.embedded(ids, positions)
        plan = None
        if rows is not None:
            shape = (ids.shape[0], ids.shape[1])
            plan = plan_attention(
                rows, shape, x, self.attention_backend, head_dim=self.config.head_size,
                dropout=self.attention_dropout if self.training else 0.0,
            )  # fmt: skip
        rotary = None if self.rotary is None else self.rotary(positions, x.dtype)
        fused = not self.training and _can_fuse(x)
        x = self._through_blocks(x, Context(plan, rotary, memory, fused), routing)
        return self.norm(x)  # type: ignore[no-any-return]

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits ``[..., V]`` of features ``[..., D]``."""
        return F.linear(hidden, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix ``[V, D]``."""
        return self.embed.weight if self.lm_head is None else self.lm_head.weight

    def compile_blocks(self, **options: Any) -> None:
        """Compile each block by itself: one block's compilation serves all that are alike.

        That takes a fraction of the time of compiling the model as one graph, and runs nearly as
        fast. The names of parameters stay.

        Args:
            **options: Of ``torch.compile``.
        """
        for block in self.blocks:
            block.compile(**options)

    def _mask(
        self, ids: Tensor, mask: AttentionMask | None, padding: Tensor | None
    ) -> AttentionMask:
        if ids.dim() != 2:
            raise ConfigError(f"ids without a memory want shape [B, S], got {tuple(ids.shape)}")
        if mask is None:
            return AttentionMask(causal=self.config.causal, padding=padding)
        if padding is None:
            return mask
        if mask.padding is not None:
            raise ConfigError("padding is given twice: in the mask and beside it")
        return replace(mask, padding=padding)

    def _check_length(self, ids: Tensor) -> None:
        for table in self.config.position_tables:
            if ids.shape[1] > len(table):
                raise ConfigError(
                    f"rows of {ids.shape[1]} tokens do not fit a position table of {len(table)}"
                )

    def embedded(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return what goes into the first block, ``[..., S, D]``."""
        x: Tensor = self.embed(ids)
        for index, embed in enumerate(self.position_embeds):
            x = x + embed(getattr(self, f"position_table{index}")[positions])
        # Autocast leaves look-ups alone: the residual stream would stay in float32.
        kind = x.device.type
        return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x

    def _through_blocks(self, x: Tensor, context: Context, routing: Routing | None) -> Tensor:
        for layer, block in enumerate(self.blocks):
            chosen = None if routing is None else routing.replay.get(layer)
            if self.recompute and torch.is_grad_enabled():
                x, routed = checkpoint(block, x, context, chosen, use_reentrant=False)
            else:
                x, routed = block(x, context, chosen)
            if routing is not None and routed is not None:
                routing.experts[layer] = routed.experts
                routing.probabilities[layer] = routed.probabilities
        return x


def _can_fuse(x: Tensor) -> bool:
    """Return whether tokens can go through kernels that have no gradient.

    A compiler fuses by itself; under autocast weights have another dtype than tokens.
    """
    plain = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    fits = x.is_cuda and x.dtype in HALF_AND_SINGLE
    return fits and plain and not torch.is_autocast_enabled(x.device.type)
