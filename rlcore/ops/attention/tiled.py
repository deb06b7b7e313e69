"""Attention over listed tiles as an operation of torch, with its gradients.

Registered with ``torch.library``, so that ``torch.compile`` keeps it as one node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.tiled_triton import tiled_backward, tiled_forward
from rlcore.ops.attention.tiles import TileLists, tile_lists

MAX_DIM = 128
"""Largest head size of the kernels."""


@dataclass(frozen=True, slots=True, eq=False)
class TiledMask:
    """A mask as the kernels read it.

    Attributes:
        lists: The tiles to visit.
        rules: ``(documents, blocks, gs, ps, padding)`` for the open ones, int32 or ``None``.
        causal: Whether the mask is causal too.
    """

    lists: TileLists
    rules: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
    causal: bool


def tiled_mask(
    mask: AttentionMask, shape: tuple[int, int], device: torch.device | None = None
) -> TiledMask:
    """Return the mask for :func:`tiled_attention`.

    Args:
        mask: Which keys each query sees.
        shape: ``(B, S)``.
        device: For a mask without tensors.
    """
    gs, ps = mask.intervals or (None, None)
    if gs is not None and not gs.shape[1]:
        gs = ps = None
    parts = (mask.documents, mask.blocks, gs, ps, mask.padding)
    documents, blocks, gs, ps, padding = (
        None if x is None else x.to(torch.int32).contiguous() for x in parts
    )
    rules = (documents, blocks, gs, ps, padding)
    return TiledMask(tile_lists(mask, shape, device), rules, mask.causal)


def tiled_attention(q: Tensor, k: Tensor, v: Tensor, mask: TiledMask, scale: float) -> Tensor:
    """Return softmax attention ``[B, S, H, D]``; a query that sees no key gets zeros.

    Args:
        q: ``[B, S, H, D]`` queries, float16, bfloat16 or float32.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        mask: From :func:`tiled_mask`.
        scale: Factor of the scores, positive.

    Raises:
        ConfigError: The head size is over 128, dtypes differ, or the scale is not positive.
    """
    if q.shape[-1] > MAX_DIM:
        raise ConfigError(
            f"the triton backend wants head sizes up to {MAX_DIM}, got {q.shape[-1]}; "
            "take backend='torch'"
        )
    if not q.dtype == k.dtype == v.dtype:
        raise ConfigError(f"q, k and v want one dtype, got {q.dtype}, {k.dtype} and {v.dtype}")
    if not scale > 0.0:  # the greatest score is scaled, not the greatest of the scaled
        raise ConfigError(f"the triton backend wants a positive scale, got {scale}")
    if not q.numel():
        return torch.zeros_like(q)
    lists = [*mask.lists.of_queries, *mask.lists.of_keys]
    q, k, v = (x.contiguous() for x in (q, k, v))
    out: Tensor = _attend(q, k, v, lists, *mask.rules, mask.causal, scale)[0]
    return out


@torch.library.custom_op("rlcore::tiled_attention", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lists: list[Tensor],
    documents: Tensor | None,
    blocks: Tensor | None,
    gs: Tensor | None,
    ps: Tensor | None,
    padding: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:
    return tiled_forward(q, k, v, lists[:4], (documents, blocks, gs, ps, padding), causal, scale)


@_attend.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    rows, length, heads = q.shape[:3]
    return torch.empty_like(q), q.new_empty(rows, heads, length, dtype=torch.float32)


@torch.library.custom_op("rlcore::tiled_attention_backward", mutates_args=())
def _attend_backward(
    slope: Tensor,
    saved: list[Tensor],
    lists: list[Tensor],
    documents: Tensor | None,
    blocks: Tensor | None,
    gs: Tensor | None,
    ps: Tensor | None,
    padding: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v, out, lse = saved
    rules = (documents, blocks, gs, ps, padding)
    return tiled_backward(slope.contiguous(), (q, k, v, out, lse), lists, rules, causal, scale)


@_attend_backward.register_fake
def _(slope: Tensor, saved: list[Tensor], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.empty_like(x) for x in saved[:3])
    return q, k, v


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, lists, *rules, causal, scale = inputs
    ctx.save_for_backward(q, k, v, *output, *lists, *(x for x in rules if x is not None))
    ctx.number, ctx.given = len(lists), [x is not None for x in rules]
    ctx.settings = (causal, scale)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, slope: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    rest = ([None] * ctx.number, *(None,) * 7)
    if slope is None:
        return (None, None, None, *rest)
    saved = list(ctx.saved_tensors)
    lists = saved[5 : 5 + ctx.number]
    found = iter(saved[5 + ctx.number :])
    rules = [next(found) if given else None for given in ctx.given]
    return (*_attend_backward(slope, saved[:5], lists, *rules, *ctx.settings), *rest)


_attend.register_autograd(_differentiate, setup_context=_save)
