"""Attention of packed new tokens over keys and values that lie in the blocks of a pool.

A row (one sequence that is being generated) sees a *list of blocks*. Keys are stored after rotary
embedding, so a block carries its positions with it: the same block may be listed by many rows, in
any place, and may be filled only in part. Forks and joins of branches are then edits of the list.

Legend: ``N`` packed new tokens, ``R`` rows, ``M`` listed blocks, ``H`` query heads, ``K`` key and
value heads (``H`` is a multiple of ``K``), ``D`` head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.attention.paged_reference import paged_attention_reference
from rlcore.ops.attention.paged_torch import paged_attention_torch
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend


class KVWrite(NamedTuple):
    """Where a layer's new keys and values go.

    Attributes:
        keys: ``[n_blocks, block, K, D]``, the layer's pool.
        values: The same for the values.
        slots: int64 ``[N]``, ``block index * block + offset`` of each new token; a negative one is
            not written.
    """

    keys: Tensor
    values: Tensor
    slots: Tensor


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """Rows whose block lists begin with the same blocks, which are then read once for all of them.

    It changes how the attention is computed, never its result. What a group of rows shares is cut
    into pieces, each of which is some entries of the list and read for all its members at once.

    Attributes:
        members: int32 ``[P, W]``, the rows of each piece, -1 where it has fewer; their lists have
            the same blocks, alike filled, in the piece's entries.
        bounds: int32 ``[P, 2]``, the piece's first entry and the one after its last; equal where a
            piece is not used.
        place: int32 ``[P]``, the number of the piece among those of its members.
        skip: int32 ``[R]``, how many leading entries each row leaves to its pieces; 0 without any.
        pieces: int32 ``[R]``, how many pieces that are.
        most_pieces: At least the largest of ``pieces``.
        most_own: At least the largest number of entries that a row keeps for itself.
    """

    members: Tensor
    bounds: Tensor
    place: Tensor
    skip: Tensor
    pieces: Tensor
    most_pieces: int
    most_own: int


@dataclass(frozen=True, eq=False)
class PagedBatch:
    """Which pool blocks the new tokens of a step see.

    New token ``i`` of the ``n`` of a row sees the first ``total - n + i + 1`` valid slots of the
    row's list, where ``total`` is the sum of its fills: the row's own new tokens are the last ones
    listed. A token that sees nothing (a padded row) gets zeros.

    The tensors may be reused by the next step's batch, but must not change while this one is used.

    Attributes:
        query_starts: int32 ``[R + 1]``; row r's new tokens are ``query_starts[r]`` up to
            ``query_starts[r + 1]`` of the packed ones.
        block_table: int32 ``[R, M]``, the blocks each row sees.
        block_fill: int32 ``[R, M]``, valid slots of each listed block; 0 for an unused entry.
        slots: int64 ``[N]``, the pool slot of each new token; see :class:`KVWrite`.
        max_query: At least the largest number of new tokens of a row.
        max_blocks: At least the largest number of used entries of a row.
        prefix: Rows that share leading blocks, or ``None``.
    """

    query_starts: Tensor
    block_table: Tensor
    block_fill: Tensor
    slots: Tensor
    max_query: int
    max_blocks: int
    prefix: SharedPrefix | None = None
    plans: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """What a backend derived from the tensors once for all layers of the step."""

    @property
    def rows(self) -> int:
        """The number of rows, padded ones included."""
        return self.block_table.shape[0]


def paged_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    batch: PagedBatch,
    *,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Return the attention of the packed new tokens over the blocks that their rows list.

    Args:
        q: ``[N, H, D]``, rotated queries.
        keys: ``[n_blocks, block, K, D]``, rotated; the new tokens' keys are already written.
        values: ``[n_blocks, block, K, D]``.
        batch: What each row sees.
        scale: Factor of the scores; ``1 / sqrt(D)`` if not given.
        backend: See :mod:`rlcore.ops.backends`.

    Returns:
        ``[N, H, D]`` of ``q``'s dtype; sums are in float32 or, for float64, in float64.

    Raises:
        ConfigError: Shapes, dtypes or devices do not fit, or the backend cannot run here.
    """
    _check(q, keys, values, batch)
    chosen = resolve_backend(backend, q, triton_dtypes=HALF_AND_SINGLE)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    if q.shape[0] == 0:
        return torch.empty_like(q)
    if chosen == "reference":
        return paged_attention_reference(q, keys, values, batch, scale)
    if chosen == "triton":
        from rlcore.ops.attention.paged_triton import paged_attention_triton

        return paged_attention_triton(q, keys, values, batch, scale)
    if chosen == "numba":
        from rlcore.ops.attention.paged_numba import paged_attention_numba

        return paged_attention_numba(q, keys, values, batch, scale)
    return paged_attention_torch(q, keys, values, batch, scale)


def _check(q: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch) -> None:
    """Raise ``ConfigError`` unless the shapes, dtypes and devices belong together."""
    if q.dim() != 3 or keys.dim() != 4 or values.shape != keys.shape:
        raise ConfigError(
            "paged_attention wants q [N, H, D] and keys and values [n_blocks, block, K, D], got "
            f"{tuple(q.shape)}, {tuple(keys.shape)} and {tuple(values.shape)}"
        )
    if q.shape[2] != keys.shape[3] or keys.shape[2] == 0 or q.shape[1] % keys.shape[2]:
        raise ConfigError(
            f"q has {q.shape[1]} heads of width {q.shape[2]}, the pool {keys.shape[2]} of width "
            f"{keys.shape[3]}; wanted equal widths and a whole number of query heads a key head"
        )
    if not q.dtype == keys.dtype == values.dtype or not q.dtype.is_floating_point:
        raise ConfigError(
            "q, keys and values must have one floating-point dtype, got "
            f"{q.dtype}, {keys.dtype} and {values.dtype}"
        )
    table, fill, starts = batch.block_table, batch.block_fill, batch.query_starts
    if table.dim() != 2 or fill.shape != table.shape or starts.shape != (table.shape[0] + 1,):
        raise ConfigError(
            "a PagedBatch wants block_table and block_fill [R, M] and query_starts [R + 1], got "
            f"{tuple(table.shape)}, {tuple(fill.shape)} and {tuple(starts.shape)}"
        )
    devices = {x.device for x in (q, keys, values, table, fill, starts)}
    if len(devices) != 1:
        raise ConfigError(
            f"paged_attention wants all tensors on one device, got {sorted(map(str, devices))}"
        )
