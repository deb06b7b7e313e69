"""Token mixers: how tokens exchange information."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from rlcore.nn.transformer.config import TransformerConfig
from rlcore.nn.transformer.memory import KVWrite, Memory
from rlcore.nn.transformer.norm import RMSNorm
from rlcore.nn.transformer.rotary import rotate
from rlcore.ops.attention.dense import AttentionPlan, attention


@dataclass(frozen=True, eq=False)
class Context:
    """What every layer of one forward pass shares.

    Attributes:
        plan: Which keys a query sees, of rows; ``None`` with a memory.
        rotary: ``(cos, sin)`` of the positions, or ``None``.
        memory: The KV cache, of packed tokens; ``None`` for rows.
    """

    plan: AttentionPlan | None
    rotary: tuple[Tensor, Tensor] | None
    memory: Memory | None


class Attention(nn.Module):
    """Softmax attention with grouped key and value heads (Ainslie et al. 2023).

    ``qkv.weight`` is ``[(H + 2 K) * head_dim, D]``: all queries, then all keys, then all values.
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads = config.heads, config.num_kv_heads
        self.head_dim = config.head_size
        width = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = nn.Linear(config.dim, width, bias=config.qkv_bias)
        self.q_norm = RMSNorm(self.head_dim, config) if config.qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, config) if config.qk_norm else None
        self.out = nn.Linear(self.heads * self.head_dim, config.dim, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the mixed tokens, ``[B, S, D]`` or packed ``[N, D]``."""
        q, k, v = self.prepare(self.qkv(x), context)
        if context.memory is not None:
            _write(context.memory.cache(self.layer), k, v)
            mixed = context.memory.attend(self.layer, q, k, v)
        else:
            assert context.plan is not None
            mixed = attention(q, k, v, context.plan)
        return self.out(mixed.flatten(-2))  # type: ignore[no-any-return]

    def prepare(self, qkv: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Return normed, rotated queries and keys, and values, ``[..., heads, head_dim]``."""
        heads = qkv.unflatten(-1, (-1, self.head_dim))
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), -2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if context.rotary is not None:
            q, k = rotate(q, *context.rotary), rotate(k, *context.rotary)
        return q, k, v


def _write(place: KVWrite | None, k: Tensor, v: Tensor) -> None:
    """Put new keys and values into their slots; a negative slot is not written."""
    if place is None:
        return
    real = place.slots >= 0
    place.keys.flatten(0, 1)[place.slots[real]] = k[real]
    place.values.flatten(0, 1)[place.slots[real]] = v[real]


MIXERS: dict[str, Callable[[TransformerConfig, int], nn.Module]] = {"attention": Attention}
