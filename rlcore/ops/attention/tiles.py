"""Masks as tables of tiles: what is hidden is skipped, no ``S x S`` is made.

A mask says of each tile of 128 x 128 (query, key) pairs from the extremes of its numbers whether no
pair can be visible (skipped), all are (computed without a test) or it is open (tested pair by
pair). That takes ``O((S / 128)^2)`` numbers a row. The judgement errs to the open side only: rules
that meet in one tile may hide all of it without any of them hiding it alone.

The kernels of :mod:`~rlcore.ops.attention.tiled_triton` take the tables as :class:`TileLists`.

Legend: ``B`` rows, ``S`` tokens, ``T`` tiles of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.ops.attention.masks import AttentionMask

TILE = 128
"""Queries, and keys, of a tile."""


def tile_tables(
    mask: AttentionMask, shape: tuple[int, int], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``(visible, full)``, bool ``[B, T, T]`` over (query tile, key tile).

    Outside ``visible`` no pair is visible; inside ``full``, a part of it, all are.

    Args:
        mask: The mask.
        shape: ``(B, S)``.
        device: Of the tables, for a mask without tensors.
    """
    own = mask.shape
    rows, length = shape if own is None else own
    tiles = -(-length // TILE)
    device = mask.device or device
    # The last tile is filled up with its last token, which changes no extreme.
    tokens = torch.arange(tiles * TILE, device=device).clamp(max=length - 1)
    first, last = _extremes(tokens)
    visible = torch.ones(rows, tiles, tiles, dtype=torch.bool, device=device)
    full = visible
    if mask.causal:
        visible = visible & (first[None, :] <= last[:, None])
        full = full & (last[None, :] <= first[:, None])
    if mask.documents is not None:
        low, high = _extremes(mask.documents[:, tokens])
        meet = (low[:, None, :] <= high[:, :, None]) & (low[:, :, None] <= high[:, None, :])
        one = low == high
        visible = visible & meet
        full = full & meet & one[:, :, None] & one[:, None, :]
    if mask.blocks is not None:
        low, high = _extremes(mask.blocks[:, tokens])
        visible = visible & (low[:, None, :] <= high[:, :, None])
        full = full & (high[:, None, :] <= low[:, :, None])
    if mask.intervals is not None:
        gs, ps = (part[..., tokens] for part in mask.intervals)
        (_, gs_high), (ps_low, ps_high) = (_extremes(part, keep=True) for part in (gs, ps))
        visible = visible & ~((gs_high <= first) & (last < ps_low)).any(1)
        # A query that hides nothing at a level says nothing about where the others begin to.
        gs_low, _ = _extremes(torch.where(ps > gs, gs, length), keep=True)
        full = full & ((ps_high <= first) | (last < gs_low)).all(1)
    if mask.padding is not None:
        low, high = _extremes(mask.padding[:, tokens].to(torch.int32))
        visible = visible & (high == 1)[:, None, :]
        full = full & (low == 1)[:, None, :]
    return visible, full & visible


def _extremes(numbers: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest of each tile: ``[..., T]``, or ``[..., T, 1]`` if kept."""
    tiles = numbers.reshape(*numbers.shape[:-1], -1, TILE)
    return tiles.amin(-1, keepdim=keep), tiles.amax(-1, keepdim=keep)


@dataclass(frozen=True, slots=True, eq=False)
class TileLists:
    """The tiles that kernels visit, hidden ones left out.

    Each member is ``(full, fulls, open, opens)``: int32 ``[B, T, T]`` lists of partner tiles, of
    which the first ``[B, T]`` count; those where all pairs are visible and those to be tested.

    Attributes:
        of_queries: For each query tile its key tiles.
        of_keys: For each key tile its query tiles.
    """

    of_queries: tuple[Tensor, Tensor, Tensor, Tensor]
    of_keys: tuple[Tensor, Tensor, Tensor, Tensor]

    @property
    def visited(self) -> Tensor:
        """How many tiles each row has, int64 ``[B]``."""
        _, fulls, _, opens = self.of_queries
        return (fulls + opens).sum(-1)


def tile_lists(
    mask: AttentionMask, shape: tuple[int, int], device: torch.device | None = None
) -> TileLists:
    """Return the mask as the Triton kernels take it; arguments as for :func:`tile_tables`."""
    visible, full = tile_tables(mask, shape, device)
    visible, full = (table.expand(shape[0], -1, -1).clone() for table in (visible, full))
    if shape[1] % TILE:
        full[:, :, -1] = False  # its last keys lie behind the row: no tile of them is full
    tested = visible & ~full
    return TileLists(_both_listed(full, tested), _both_listed(full.mT, tested.mT))


def _both_listed(full: Tensor, tested: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (fulls, full_list), (opens, open_list) = _listed(full), _listed(tested)
    return full_list[:, 0].contiguous(), fulls[:, 0], open_list[:, 0].contiguous(), opens[:, 0]


def _listed(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many key tiles each query tile has, and their indices, those first."""
    table = table[:, None].to(torch.int32)
    order = table.argsort(dim=-1, descending=True, stable=True)
    return table.sum(-1, dtype=torch.int32), order.to(torch.int32)
