"""Attention of whole rows, for training and scoring."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlcore.ops.attention.masks import AttentionMask


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, *, scale: float | None = None
) -> Tensor:
    """Return softmax attention ``[B, S, H, D]`` of rows over themselves.

    Args:
        q: ``[B, S, H, D]`` queries.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        mask: Which keys each query sees.
        scale: Factor of the scores; ``D ** -0.5`` if not given.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    plain = mask.shape is None
    out = scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if plain else mask.dense(),
        is_causal=plain and mask.causal,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.transpose(1, 2)
