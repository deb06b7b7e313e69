"""Attention of whole rows over themselves, for training and scoring.

=============  ===============================================================================
backend        how
=============  ===============================================================================
``reference``  scores, softmax and sum written out over ``[S, S]``: the definition
``torch``      torch's fused attention; masks with rules as a dense bool matrix
``triton``     kernels over tiles (:mod:`rlcore.ops.attention.tiled`), every mask; memory linear in
               ``S``, heads of at most 128
``varlen``     documents as a list of sequences (:mod:`rlcore.ops.attention.documents`): causal
               masks with documents alone, each document in one piece; on a GPU half precision
=============  ===============================================================================

``auto`` is ``torch`` for causal and full rows, for heads that the kernels do not take, in double
precision and off the GPU; else ``triton``. Rows of at most 128 tokens that are padded and nothing
more are less than a tile: it takes the dense matrix for them. Where no gradient is wanted, a kernel
holds such a row whole (:mod:`rlcore.ops.attention.short_rows`), and one without padding where it
has to be rotated, too. ``varlen``, whose plan waits for the device, is taken where it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlcore.errors import ConfigError
from rlcore.ops.attention.documents import document_attention, document_bounds
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.short_rows import LONGEST, short_row_attention
from rlcore.ops.attention.tiled import MAX_DIM, TiledMask, tiled_attention, tiled_mask
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, override, resolve_backend
from rlcore.ops.rotary import rotate

AttentionBackend = Backend | Literal["varlen"]
MAX_ROTATED = 64
"""Widest heads for which rows without padding go through the kernel of short rows.

It is slower than torch's attention by itself, and faster than that with a rotation before it: 191
against 236 us for 1,024 rows of 80 tokens, 8 heads of 32, on an H100.
"""


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """A mask in the form that a backend takes, made once for all layers of a forward pass.

    Attributes:
        backend: ``reference``, ``torch``, ``triton`` or ``varlen``.
        causal: Whether a mask without further rules is causal.
        seen: Dense bool ``[B, 1, S, S]``, for the first two; ``None`` if ``causal`` says it all.
        bounds: Where documents begin and end, for ``varlen``.
        tiled: For the kernels.
        real: Bool ``[B, S]``, keys that may be seen, for the kernel of short rows.
        dropout: Share of the softmax's weights that is set to 0, the others growing to make up.
        rotates: Whether the kernel of short rows turns queries and keys by itself.
    """

    backend: str
    causal: bool
    seen: Tensor | None = None
    bounds: Tensor | None = None
    tiled: TiledMask | None = None
    real: Tensor | None = None
    dropout: float = 0.0
    rotates: bool = False


def plan_attention(
    mask: AttentionMask,
    shape: Sequence[int],
    like: Tensor,
    backend: AttentionBackend = "auto",
    *,
    head_dim: int | None = None,
    dropout: float = 0.0,
) -> AttentionPlan:
    """Return the mask in the form in which :func:`attention` takes it.

    Args:
        mask: Which keys each query sees.
        shape: ``(B, S)`` of the rows.
        like: A tensor of the queries' device and dtype.
        backend: See above.
        head_dim: Head size of the queries, which ``auto`` minds where it is given.
        dropout: Share of the softmax's weights to drop, drawn from torch's global generator; only
            ``torch`` can, which ``auto`` is then.

    Raises:
        ConfigError: The mask is of other rows, or the backend cannot run here.
    """
    shape = (shape[0], shape[1])
    if dropout and backend not in ("auto", "torch"):
        raise ConfigError(f"attention dropout wants backend 'torch', got {backend!r}")
    if dropout:
        backend = "torch"
    if mask.shape not in (None, shape):
        raise ConfigError(f"a mask of rows {mask.shape} does not fit rows {shape}")
    if backend == "varlen":
        return _document_plan(mask, like)
    if backend == "auto" and override() is None:
        if _short_rows(mask, shape) and _takes_kernels(like) and not torch.is_grad_enabled():
            if mask.padding is not None:
                return AttentionPlan("triton", causal=False, real=mask.padding, rotates=True)
            if head_dim is not None and head_dim <= MAX_ROTATED:
                return AttentionPlan("torch", causal=False, rotates=True)
        backend = choose_backend(mask, shape, like, head_dim)
    chosen = resolve_backend(backend, like, triton_dtypes=HALF_AND_SINGLE)
    if chosen == "numba":
        raise ConfigError("attention has no numba backend; wanted reference, torch or triton")
    if chosen == "triton":
        tiled = tiled_mask(mask, shape, like.device)
        return AttentionPlan(chosen, mask.causal, tiled=tiled)
    if chosen == "torch" and mask.shape is None:
        return AttentionPlan(chosen, mask.causal, dropout=dropout)
    seen = mask.dense(shape, like.device)
    return AttentionPlan(chosen, mask.causal, seen=seen, dropout=dropout)


def _short_rows(mask: AttentionMask, shape: tuple[int, int]) -> bool:
    others = (mask.documents, mask.blocks, mask.intervals)
    plain = not mask.causal and all(value is None for value in others)
    return plain and shape[1] <= LONGEST


def _takes_kernels(like: Tensor) -> bool:
    return like.is_cuda and like.dtype in HALF_AND_SINGLE


def choose_backend(
    mask: AttentionMask, shape: tuple[int, int], like: Tensor, head_dim: int | None
) -> Literal["torch", "triton"]:
    """Return what ``auto`` stands for; arguments as for :func:`plan_attention`."""
    plain = mask.shape is None or _short_rows(mask, shape)
    fits = head_dim is None or head_dim <= MAX_DIM
    return "triton" if _takes_kernels(like) and fits and not plain else "torch"


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
    rotary: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return softmax attention ``[B, S, H, D]``; a query that sees no key gets zeros.

    Args:
        q: ``[B, S, H, D]`` queries.
        k: ``[B, S, K, D]`` keys; ``H`` is a multiple of ``K``.
        v: ``[B, S, K, D]`` values.
        mask: Which keys each query sees; layers that share a mask make its plan once.
        scale: Factor of the scores; ``D ** -0.5`` if not given.
        rotary: ``(cos, sin)``, each ``[B, S, D/2]``, by which queries and keys are turned first.
    """
    if isinstance(mask, AttentionPlan):
        plan = mask
    else:
        plan = plan_attention(mask, q.shape[:2], q, head_dim=q.shape[-1])
    if rotary is not None and not plan.rotates:
        q, k, rotary = rotate(q, *rotary), rotate(k, *rotary), None
    if plan.bounds is not None:
        return document_attention(q, k, v, plan.bounds, scale)
    if plan.real is not None or (plan.rotates and rotary is not None):
        return short_row_attention(q, k, v, plan.real, scale, rotary)
    if plan.tiled is not None:
        return tiled_attention(q, k, v, plan.tiled, q.shape[-1] ** -0.5 if scale is None else scale)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if plan.backend == "reference" and plan.seen is not None:
        return _reference(q, k, v, plan.seen, scale).transpose(1, 2)
    causal = plan.seen is None and plan.causal
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(
        q, k, v,
        attn_mask=plan.seen, is_causal=causal, scale=scale, enable_gqa=grouped,
        dropout_p=plan.dropout,
    )  # fmt: skip
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
