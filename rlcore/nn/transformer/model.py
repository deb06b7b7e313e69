"""The transformer: embeddings, pre-norm blocks of mixer and MLP, a last norm, the head.

Legend: ``B`` rows, ``S`` tokens of a row, ``N`` packed tokens, ``D`` width, ``V`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.nn.transformer.config import TransformerConfig
from rlcore.nn.transformer.memory import Memory
from rlcore.nn.transformer.mixers import MIXERS, Context
from rlcore.nn.transformer.mlp import SwiGLU
from rlcore.nn.transformer.norm import NORMS
from rlcore.nn.transformer.rotary import Rotary
from rlcore.ops.attention.masks import AttentionMask


class Block(nn.Module):
    """``x + mixer(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.mixer_norm = norm(config.dim, config)
        self.mixer = MIXERS[config.mixer.type](config, layer)
        self.mlp_norm = norm(config.dim, config)
        self.mlp = SwiGLU(config.dim, config.hidden_size)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the residual stream after the block."""
        x = x + self.mixer(self.mixer_norm(x), context)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """The one definition of a transformer, for training and for generation.

    Args:
        config: Its shape.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.dim)
        self.position_embeds = nn.ModuleList(
            nn.Embedding(max(table) + 1, config.dim) for table in config.position_tables
        )
        for index, table in enumerate(config.position_tables):
            self.register_buffer(f"position_table{index}", torch.tensor(table), persistent=False)
        self.rotary = Rotary(config) if config.rope else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = NORMS[config.norm](config.dim, config)
        self.lm_head = (
            None if config.tie_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        )
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw initial weights from torch's global generator."""
        residual = self.config.init_std / (2 * self.config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                last = name.endswith(("mixer.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=residual if last else self.config.init_std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: AttentionMask | None = None,
        padding: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Return logits ``[..., S, V]``; arguments as for :meth:`hidden`."""
        return self.head(
            self.hidden(ids, positions=positions, mask=mask, padding=padding, memory=memory)
        )

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: AttentionMask | None = None,
        padding: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Return the tokens' features after the last norm, ``[..., S, D]``.

        Args:
            ids: int64 ``[B, S]``; with a memory, packed ``[N]``.
            positions: Integers of the shape of ``ids``; by default they count from the first real
                token of a row, or of a document. A memory wants them given.
            mask: Which keys each query sees; by default ``config.causal`` says it.
            padding: bool ``[B, S]``, true for real tokens: the others are not seen by any.
            memory: Keys and values of earlier tokens.
        """
        if memory is None:
            mask = self._mask(mask, padding)
            if positions is None:
                positions = default_positions(ids, mask)
        elif positions is None or mask is not None or padding is not None:
            raise ConfigError("a call with a memory wants positions, and neither mask nor padding")
        else:
            mask = AttentionMask()
        x = self.embed(ids)
        for index, embed in enumerate(self.position_embeds):
            x = x + embed(getattr(self, f"position_table{index}")[positions])
        rotary = None if self.rotary is None else self.rotary(positions, x.dtype)
        context = Context(mask, rotary, memory)
        for block in self.blocks:
            x = block(x, context)
        return self.norm(x)  # type: ignore[no-any-return]

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits ``[..., V]`` of features ``[..., D]``."""
        weight = self.embed.weight if self.lm_head is None else self.lm_head.weight
        return F.linear(hidden, weight)

    def _mask(self, mask: AttentionMask | None, padding: Tensor | None) -> AttentionMask:
        if mask is None:
            return AttentionMask(causal=self.config.causal, padding=padding)
        if padding is None:
            return mask
        if mask.padding is not None:
            raise ConfigError("padding is given twice: in the mask and beside it")
        return AttentionMask(
            causal=mask.causal,
            documents=mask.documents,
            blocks=mask.blocks,
            intervals=mask.intervals,
            padding=padding,
        )


def default_positions(ids: Tensor, mask: AttentionMask) -> Tensor:
    """Return int64 ``[B, S]``: each document's, or row's, real tokens counted from 0."""
    if mask.padding is None:
        count = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand(ids.shape)
    else:
        count = mask.padding.cumsum(1)
    if mask.documents is not None:
        # What was counted before a document began is taken off; the count never falls.
        begins = F.pad(mask.documents[:, 1:] != mask.documents[:, :-1], (1, 0))
        before = F.pad(count[:, :-1], (1, 0)) * begins
        count = count - before.cummax(1).values
    return (count - 1).clamp(min=0)
