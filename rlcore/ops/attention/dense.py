"""Attention of whole rows over themselves, for training and scoring.

=============  ===============================================================================
backend        how
=============  ===============================================================================
``reference``  scores, softmax and sum written out over ``[S, S]``: the definition
``torch``      torch's fused attention for causal and full rows. Other masks: FlexAttention over
               tiles (:mod:`rlcore.ops.attention.tiles`) on a GPU in half or single precision,
               memory linear in ``S``; a dense bool matrix elsewhere
``triton``     kernels over the same tiles (:mod:`rlcore.ops.attention.tiled`), every mask
``varlen``     documents as a list of sequences (:mod:`rlcore.ops.attention.documents`): causal
               masks with documents alone, each document in one piece; on a GPU half precision
=============  ===============================================================================

Rows of at most 128 tokens that are padded and nothing more are less than a tile: ``torch`` takes a
dense matrix for them, and ``auto``, where no gradient is wanted, a kernel that holds a whole row
(:mod:`rlcore.ops.attention.short_rows`).

``auto`` is ``torch`` otherwise: inside a compiled model FlexAttention is traced with what surrounds
it, while the kernels are one opaque node that needs no compilation. ``varlen``, whose plan waits
for the device, is taken where it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from rlcore.errors import ConfigError
from rlcore.ops.attention.documents import document_attention, document_bounds
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.short_rows import LONGEST, short_row_attention
from rlcore.ops.attention.tiled import TiledMask, tiled_attention, tiled_mask
from rlcore.ops.attention.tiles import block_mask
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend

AttentionBackend = Backend | Literal["varlen"]


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """A mask in the form that a backend takes, made once for all layers of a forward pass.

    Attributes:
        backend: ``reference``, ``torch``, ``triton`` or ``varlen``.
        causal: Whether a mask without further rules is causal.
        seen: Dense bool ``[B, 1, S, S]``, for the first two; ``None`` if ``causal`` says it all.
        tiles: For FlexAttention.
        bounds: Where documents begin and end, for ``varlen``.
        tiled: For the kernels.
        real: Bool ``[B, S]``, keys that may be seen, for the kernel of short rows.
    """

    backend: str
    causal: bool
    seen: Tensor | None = None
    tiles: BlockMask | None = None
    bounds: Tensor | None = None
    tiled: TiledMask | None = None
    real: Tensor | None = None


def plan_attention(
    mask: AttentionMask, shape: Sequence[int], like: Tensor, backend: AttentionBackend = "auto"
) -> AttentionPlan:
    """Return the mask in the form in which :func:`attention` takes it.

    Args:
        mask: Which keys each query sees.
        shape: ``(B, S)`` of the rows.
        like: A tensor of the queries' device and dtype.
        backend: See above.

    Raises:
        ConfigError: The mask is of other rows, or the backend cannot run here.
    """
    shape = (shape[0], shape[1])
    if mask.shape not in (None, shape):
        raise ConfigError(f"a mask of rows {mask.shape} does not fit rows {shape}")
    if backend == "varlen":
        return _document_plan(mask, like)
    short = _short_rows(mask, shape)
    if backend == "auto" and short and _has_short_kernel(like):
        return AttentionPlan("triton", causal=False, real=mask.padding)
    chosen = resolve_backend(
        "torch" if backend == "auto" else backend, like, triton_dtypes=HALF_AND_SINGLE
    )
    if chosen == "numba":
        raise ConfigError("attention has no numba backend; wanted reference, torch or triton")
    if chosen == "triton":
        tiled = tiled_mask(mask, shape, like.device)
        return AttentionPlan(chosen, mask.causal, tiled=tiled)
    if chosen == "torch" and mask.shape is None:
        return AttentionPlan(chosen, mask.causal)
    if chosen == "torch" and _takes_tiles(like) and not short:
        return AttentionPlan(chosen, mask.causal, tiles=block_mask(mask, shape, like.device))
    return AttentionPlan(chosen, mask.causal, seen=mask.dense(shape, like.device))


def _short_rows(mask: AttentionMask, shape: tuple[int, int]) -> bool:
    others = (mask.documents, mask.blocks, mask.intervals)
    padded = mask.padding is not None and not mask.causal
    return padded and shape[1] <= LONGEST and all(value is None for value in others)


def _takes_tiles(like: Tensor) -> bool:
    return like.is_cuda and like.dtype in HALF_AND_SINGLE


def _has_short_kernel(like: Tensor) -> bool:
    return like.is_cuda and like.dtype in HALF_AND_SINGLE and not torch.is_grad_enabled()


def _document_plan(mask: AttentionMask, like: Tensor) -> AttentionPlan:
    others = {"blocks": mask.blocks, "intervals": mask.intervals, "padding": mask.padding}
    found = [name for name, value in others.items() if value is not None]
    if mask.documents is None or not mask.causal or found:
        raise ConfigError(
            "attention backend 'varlen' wants a causal mask of documents alone, got "
            f"causal={mask.causal}, documents={mask.documents is not None} and {found}"
        )
    if like.is_cuda and like.dtype not in (torch.float16, torch.bfloat16):
        raise ConfigError(
            f"attention backend 'varlen' wants float16 or bfloat16 on a GPU, got {like.dtype}"
        )
    return AttentionPlan("varlen", causal=True, bounds=document_bounds(mask.documents))


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: AttentionMask | AttentionPlan,
    *,
    scale: float | None = None,
) -> Tensor:
    """Return softmax attention ``[B, S, H, D]``; a query that sees no key gets zeros.

    Args:
        q: ``[B, S, H, D]`` queries.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        mask: Which keys each query sees; layers that share a mask make its plan once.
        scale: Factor of the scores; ``D ** -0.5`` if not given.
    """
    plan = mask if isinstance(mask, AttentionPlan) else plan_attention(mask, q.shape[:2], q)
    if plan.bounds is not None:
        return document_attention(q, k, v, plan.bounds, scale)
    if plan.real is not None:
        return short_row_attention(q, k, v, plan.real, scale)
    if plan.tiled is not None:
        return tiled_attention(q, k, v, plan.tiled, q.shape[-1] ** -0.5 if scale is None else scale)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if plan.backend == "reference" and plan.seen is not None:
        return _reference(q, k, v, plan.seen, scale).transpose(1, 2)
    grouped = q.shape[1] != k.shape[1]
    if plan.tiles is not None:
        out = _flex()(q, k, v, block_mask=plan.tiles, scale=scale, enable_gqa=grouped)
    else:
        causal = plan.seen is None and plan.causal
        out = scaled_dot_product_attention(
            q, k, v, attn_mask=plan.seen, is_causal=causal, scale=scale, enable_gqa=grouped
        )
    result: Tensor = out.transpose(1, 2)
    return result


def _reference(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scale: float | None) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.masked_fill(~seen, -torch.inf)
    # What sees nothing has a softmax of NaN.
    weights = torch.where(seen, scores.softmax(-1), 0.0)
    return weights @ v


def _flex() -> Callable[..., Any]:
    """Return FlexAttention: as it is inside a compiled model, else compiled by itself."""
    function: Callable[..., Any] = flex_attention
    return function if torch.compiler.is_compiling() else _compiled_flex()


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(flex_attention)
    return compiled
