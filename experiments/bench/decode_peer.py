"""The peer of the decode benchmark: unfused operations over a static cache, one CUDA graph.

What a careful user captures by hand with torch alone: fused projections, torch's own RMS norm,
rotation in halves, an indexed write to a cache of fixed length, scaled dot-product attention with a
mask, softmax and multinomial sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlcore.nn.transformer.model import Transformer


class StaticPeer:
    """One decode step of ``rows`` rows over a static cache of ``length`` tokens.

    Args:
        model: Whose parameters are used.
        rows: Sequences.
        length: Length of the cache; the last place of it is decoded.
    """

    def __init__(self, model: Transformer, rows: int, length: int) -> None:
        self.model, self.rows, self.length = model, rows, length
        config = model.config
        shape = (config.layers, rows, config.num_kv_heads, length, config.head_size)
        self.keys, self.values = (
            torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(2)
        )
        self.ids = torch.randint(config.vocab_size, (rows, 1), device="cuda")
        self.position = torch.full((1,), length - 1, device="cuda")
        pairs = torch.arange(0, config.head_size, 2, device="cuda")
        self.frequencies = config.rope_theta ** -(pairs / config.head_size)
        self.token, self.log_prob = self.ids[:, 0].clone(), torch.zeros(rows, device="cuda")

    def step(self) -> None:
        """Decode one token a row and keep it with its log-probability."""
        with torch.no_grad():
            x = self.model.embed(self.ids)
            angles = self.position[:, None] * self.frequencies
            angles = torch.cat((angles, angles), -1)
            cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
            seen = (torch.arange(self.length, device="cuda") <= self.position)[None, None, None]
            for layer, block in enumerate(self.model.blocks):
                mixer = block.mixer
                normed = _norm(x, block.mixer_norm)
                x = x + mixer.out(self._attend(layer, mixer, mixer.qkv(normed), cos, sin, seen))
                gate, up = block.mlp.gate_up(_norm(x, block.mlp_norm)).chunk(2, -1)
                x = x + block.mlp.down(F.silu(gate) * up)
            logits = self.model.head(_norm(x, self.model.norm))[:, 0].float()
            token = torch.multinomial(logits.softmax(-1), 1)
            self.ids.copy_(token)
            self.log_prob.copy_(logits.log_softmax(-1).gather(1, token)[:, 0])

    def _attend(
        self,
        layer: int,
        mixer: torch.nn.Module,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        seen: Tensor,
    ) -> Tensor:
        config = self.model.config
        heads = qkv.view(self.rows, 1, -1, config.head_size).transpose(1, 2)
        q, k, v = heads.split((config.heads, config.num_kv_heads, config.num_kv_heads), 1)
        q, k = _norm(q, mixer.q_norm), _norm(k, mixer.k_norm)
        q, k = q * cos + _half_turned(q) * sin, k * cos + _half_turned(k) * sin
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, self.position, k)
        values.index_copy_(2, self.position, v)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        return out.transpose(1, 2).reshape(self.rows, 1, -1)


def _norm(x: Tensor, norm: torch.nn.Module) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)


def _half_turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)
