"""Keys and values of whole rows, and a pass that reads some places of each row over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlcore.inference.decoding.denoiser import TransformerDenoiser
from rlcore.inference.decoding.state import DecodeState


@dataclass
class RowMemory:
    """Attention memory of one call of the transformer: every row has its own keys and values.

    Attributes:
        keys: One tensor a layer, ``[R, S + 1, Hk, Dh]``; the last slot takes what nobody reads.
        values: As ``keys``.
        slots: int64 ``[R * Q]``: where each query's own key goes.
        visible: bool ``[R, Q, S + 1]``.
    """

    keys: list[Tensor]
    values: list[Tensor]
    slots: Tensor
    visible: Tensor

    @staticmethod
    def names(denoiser: TransformerDenoiser) -> list[str]:
        """Return the names of the row tensors."""
        layers: int = denoiser.model.config.layers
        return [f"cache/{kind}{n}" for kind in ("keys", "values") for n in range(layers)]

    @classmethod
    def begin(cls, denoiser: TransformerDenoiser, state: DecodeState) -> RowMemory:
        """Put empty keys and values into the state and return them."""
        config: Any = denoiser.model.config
        heads = config.kv_heads or config.heads
        width = config.head_dim or config.dim // config.heads
        like = next(iter(denoiser.model.parameters()))
        for name in cls.names(denoiser):
            state.rows[name] = like.new_zeros(len(state), state.ids.shape[1] + 1, heads, width)
        return cls.of(denoiser, state)

    @classmethod
    def of(cls, denoiser: TransformerDenoiser, state: DecodeState) -> RowMemory:
        """Return the memory that the state holds, with nothing to be written or seen yet."""
        tensors = [state.rows[name] for name in cls.names(denoiser)]
        half = len(tensors) // 2
        none = state.place.new_empty(0)
        return cls(tensors[:half], tensors[half:], none, none)

    def cache(self, layer: int) -> None:
        """Return no place: :meth:`attend` writes, so that spare keys need no test of their slot."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write the new keys and values; return attention ``[R * Q, H, Dh]`` over the row's."""
        self.keys[layer].flatten(0, 1)[self.slots] = k
        self.values[layer].flatten(0, 1)[self.slots] = v
        rows, queries, _ = self.visible.shape
        keys, values = self.keys[layer].transpose(1, 2), self.values[layer].transpose(1, 2)
        if (repeats := q.shape[1] // keys.shape[1]) > 1:
            keys = keys.repeat_interleave(repeats, 1)
            values = values.repeat_interleave(repeats, 1)
        grouped = q.view(rows, queries, *q.shape[1:]).transpose(1, 2)
        mixed = scaled_dot_product_attention(grouped, keys, values, self.visible[:, None])
        return mixed.transpose(1, 2).reshape(q.shape)


def encode(
    denoiser: TransformerDenoiser,
    memory: RowMemory,
    state: DecodeState,
    places: Tensor,
    visible: Tensor,
) -> Tensor:
    """Read some places of each row over its memory; return hidden states ``[R, Q, D]``.

    Args:
        denoiser: The model.
        memory: Keys and values, written to.
        state: Tokens and padding.
        places: int64 ``[R, Q]``: places in the sequence; negative ones are not written and not
            seen, and what is returned for them means nothing.
        visible: bool ``[R, Q, S]``: which places of the row each query sees.
    """
    rows, size = state.ids.shape
    inside = places.clamp(min=0)
    # A query that sees nothing looks at the spare slot: its result is unused, but must be finite.
    spare = ~visible.any(2, keepdim=True)
    row = torch.arange(rows, device=places.device)[:, None]
    memory.slots = (row * (size + 1) + inside.where(places >= 0, size)).reshape(-1)
    memory.visible = torch.cat([visible, spare], 2)
    ids = state.ids.gather(1, inside).reshape(-1)
    positions = inside
    if state.real is not None:
        positions = (inside - (~state.real).sum(1, keepdim=True)).clamp(min=0)
    model: Any = denoiser.model
    hidden: Tensor = model.hidden(ids, positions=positions.reshape(-1), memory=memory)
    return hidden.view(rows, places.shape[1], -1)
