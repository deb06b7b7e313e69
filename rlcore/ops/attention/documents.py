"""Causal attention of packed documents as a list of sequences: torch's variable-length attention.

Tiles do not start where a document does, so that a table of tiles computes parts of tiles of
documents that meet there; a list of sequences has its tiles in each document.

Legend: ``B`` rows, ``S`` tokens of a row, ``H`` query heads, ``K`` key heads, ``D`` head width.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
# By version, as the module of varlen_attn loads the compiler: it is imported where it is used.
_CAUSAL: dict[str, Any] = {"window_size": (-1, 0)} if _VERSION >= (2, 11) else {"is_causal": True}
_GROUPS_IN_KERNEL = _VERSION >= (2, 13)


def document_bounds(documents: Tensor) -> Tensor:
    """Return where documents begin among the tokens of all rows, and the end: int32 ``[n + 1]``.

    A document begins with a row and where the number changes. On CUDA this waits for their number.

    Args:
        documents: Integers ``[B, S]``.
    """
    begins = pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    starts = begins.flatten().nonzero().squeeze(1)
    return pad(starts, (0, 1), value=documents.numel()).to(torch.int32)


def document_attention(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float | None = None
) -> Tensor:
    """Return causal softmax attention ``[B, S, H, D]`` inside documents.

    Args:
        q: ``[B, S, H, D]`` queries.
        k: ``[B, S, K, D]`` keys.
        v: ``[B, S, K, D]`` values.
        bounds: Of :func:`document_bounds`.
        scale: Factor of the scores; ``D ** -0.5`` if not given.
    """
    shape, longest = q.shape, q.shape[1]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    if not q.is_cuda:
        alone: Tensor = _one_by_one(q, k, v, bounds, scale)
        return alone.view(shape)
    from torch.nn.attention.varlen import varlen_attn

    more = dict(_CAUSAL)
    if q.shape[1] != k.shape[1]:
        if _GROUPS_IN_KERNEL:
            more["enable_gqa"] = True
        else:
            k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    out: Any = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, **more)
    return out.view(shape)  # type: ignore[no-any-return]


def _one_by_one(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float | None) -> Tensor:
    edges = bounds.tolist()
    found = []
    for start, end in itertools.pairwise(edges):
        query, key, value = (x[start:end].transpose(0, 1)[None] for x in (q, k, v))
        out = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        found.append(out[0].transpose(0, 1))
    return torch.cat(found)


# As torch.compiler.disable marks a function; the decorator would load the compiler.
_one_by_one._torchdynamo_disable = True  # type: ignore[attr-defined]
