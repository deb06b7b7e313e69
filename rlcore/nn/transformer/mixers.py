"""Token mixers: how tokens exchange information."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from rlcore.nn.transformer.config import TransformerConfig
from rlcore.nn.transformer.memory import Memory
from rlcore.nn.transformer.norm import RMSNorm
from rlcore.ops.attention.dense import AttentionPlan, attention
from rlcore.ops.rotary import HeadNorms, prepare_qkv


@dataclass(frozen=True, eq=False)
class Context:
    """What every layer of one forward pass shares.

    Attributes:
        plan: Which keys a query sees, of rows; ``None`` with a memory.
        rotary: ``(cos, sin)`` of the positions, or ``None``.
        memory: The KV cache, of packed tokens; ``None`` for rows.
        fused: Whether linear layers take the norm before them and the addition after them along,
            and the residual stream is written over; see :mod:`rlcore.ops.fused_linear`.
    """

    plan: AttentionPlan | None
    rotary: tuple[Tensor, Tensor] | None
    memory: Memory | None
    fused: bool = False


class Attention(nn.Module):
    """Softmax attention with grouped key and value heads (Ainslie et al. 2023).

    ``qkv.weight`` is ``[(H + 2 K) * head_dim, D]``: all queries, then all keys, then all values.
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads = config.heads, config.num_kv_heads
        width = (self.heads + 2 * self.kv_heads) * config.head_size
        self.qkv = nn.Linear(config.dim, width, bias=config.qkv_bias)
        self.q_norm = RMSNorm(config.head_size, config) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_size, config) if config.qk_norm else None
        self.out = nn.Linear(self.heads * config.head_size, config.dim, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the mixed tokens, ``[B, S, D]`` or packed ``[N, D]``."""
        return self.out(self.mix(self.qkv(x), context))  # type: ignore[no-any-return]

    def mix(self, qkv: Tensor, context: Context) -> Tensor:
        """Return the heads' outputs side by side, for projected tokens."""
        memory, plan, norms = context.memory, context.plan, self._head_norms()
        later = plan is not None and plan.rotates and norms is None
        q, k, v = prepare_qkv(
            qkv,
            self.heads,
            self.kv_heads,
            norms=norms,
            rotary=None if later else context.rotary,
            cache=None if memory is None else memory.cache(self.layer),
        )
        if memory is not None:
            return memory.attend(self.layer, q, k, v).flatten(-2)
        assert plan is not None
        return attention(q, k, v, plan, rotary=context.rotary if later else None).flatten(-2)

    def _head_norms(self) -> HeadNorms | None:
        if self.q_norm is None or self.k_norm is None:
            return None
        return HeadNorms(
            self.q_norm.weight, self.k_norm.weight, self.q_norm.eps, self.q_norm.float32
        )


MIXERS: dict[str, Callable[[TransformerConfig, int], nn.Module]] = {"attention": Attention}
