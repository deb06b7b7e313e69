"""A block of the transformer in six kernels, for generation with few rows on a GPU.

It computes what :class:`rlcore.nn.transformer.model.Block` computes, from the same parameters, up
to the rounding of half precision: the norms, the gate and the additions ride along with the linear
layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlcore.nn.transformer.mixers import Attention, Context
from rlcore.nn.transformer.mlp import SwiGLU
from rlcore.nn.transformer.norm import RMSNorm
from rlcore.ops.backends import HALF_AND_SINGLE
from rlcore.ops.fused_linear import linear_add, norm_gated_linear, norm_linear
from rlcore.ops.rotary import HeadNorms, prepare_qkv

if TYPE_CHECKING:
    from rlcore.nn.transformer.model import Block

MOST_ROWS = 512
"""With more rows the time is that of the matrix products, which the library's kernels do best."""


def fusable(block: Block, x: Tensor, context: Context) -> bool:
    """Return whether :func:`fused_block` can run: by the tensors and the block's parts alone."""
    return (
        context.memory is not None
        and x.dim() == 2
        and x.shape[0] <= MOST_ROWS
        and x.device.type == "cuda"
        and x.dtype in HALF_AND_SINGLE
        and not torch.is_grad_enabled()
        and isinstance(block.mixer, Attention)
        and isinstance(block.mlp, SwiGLU)
        and isinstance(block.mixer_norm, RMSNorm)
        and isinstance(block.mlp_norm, RMSNorm)
    )


def fused_block(block: Block, x: Tensor, context: Context) -> Tensor:
    """Return the residual stream after the block, ``[N, D]``."""
    mixer, mlp, memory = block.mixer, block.mlp, context.memory
    assert isinstance(mixer, Attention)
    assert isinstance(mlp, SwiGLU)
    assert isinstance(block.mixer_norm, RMSNorm)
    assert isinstance(block.mlp_norm, RMSNorm)
    assert memory is not None
    norm = block.mixer_norm
    qkv = norm_linear(x, norm.weight, norm.eps, mixer.qkv.weight, mixer.qkv.bias)
    q, k, v = prepare_qkv(
        qkv,
        mixer.heads,
        mixer.kv_heads,
        norms=head_norms(mixer),
        rotary=context.rotary,
        cache=memory.cache(mixer.layer),
    )
    mixed = memory.attend(mixer.layer, q, k, v)
    x = linear_add(mixed.flatten(-2), mixer.out.weight, x)
    hidden = norm_gated_linear(x, block.mlp_norm.weight, block.mlp_norm.eps, mlp.gate_up.weight)
    return linear_add(hidden, mlp.down.weight, x)


def head_norms(mixer: Attention) -> HeadNorms | None:
    """Return the norms of the mixer's query and key heads, or ``None``."""
    q, k = mixer.q_norm, mixer.k_norm
    if q is None or k is None:
        return None
    return HeadNorms(q.weight, k.weight, q.eps, q.float32)
