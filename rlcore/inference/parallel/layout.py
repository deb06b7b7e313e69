"""Positions and attention of a sequence with branches.

Every branch of a fork starts at the same position, as if its siblings were not there; what follows
the join goes on behind the longest. A token does not see the branches beside its own. In canonical
order the tokens that are hidden from one lie in one interval a nesting level, so two integers a
token and level are the whole mask (Multiverse, Yang et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlcore.inference.parallel.spans import Block, Span, SpanTree

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def build_positions(tree: SpanTree) -> Tensor:
    """Return the position of each token, int64 ``[L]``.

    With ``g`` the position of the fork tag, branches start at ``g + 1`` and the join is at
    ``g + m + 1``, ``m`` the length of the longest branch. The last position plus one is the length
    of the critical path.
    """
    positions = torch.empty(tree.length, dtype=torch.int64)
    _lay(positions, 0, tree.length, tree.blocks, 0)
    return positions


def _lay(positions: Tensor, start: int, stop: int, blocks: tuple[Block, ...], first: int) -> int:
    """Number the tokens ``start .. stop`` from position ``first``; return the position behind."""
    for block in blocks:
        here = block.fork + 1
        positions[start:here] = torch.arange(first, first + here - start)
        first += here - start
        ends = [_lay(positions, b.start, b.stop, b.blocks, first) for b in block.branches]
        start, first = block.join, max(ends)
    positions[start:stop] = torch.arange(first, first + stop - start)
    return first + stop - start


def build_intervals(tree: SpanTree) -> tuple[Tensor, Tensor]:
    """Return ``(gs, ps)``, int32 ``[depth, L]``: token q does not see ``gs[d,q] <= k < ps[d,q]``.

    ``gs`` is the first token of the block's branches, ``ps`` the first of q's own branch; both are
    0 on levels where q lies in no branch.
    """
    gs = torch.zeros(tree.depth, tree.length, dtype=torch.int32)
    ps = torch.zeros_like(gs)
    for block, level in tree.walk():
        for branch in block.branches:
            gs[level, branch.start : branch.stop] = block.branches[0].start
            ps[level, branch.start : branch.stop] = branch.start
    return gs, ps


def critical_path(tree: SpanTree) -> int:
    """Return how many tokens the longest way from the first to the last token has."""
    return _length(0, tree.length, tree.blocks)


def _length(start: int, stop: int, blocks: tuple[Block, ...]) -> int:
    outside, inside = stop - start, 0
    for block in blocks:
        outside -= block.join - block.branches[0].start
        inside += max(_branch_length(branch) for branch in block.branches)
    return outside + inside


def _branch_length(branch: Span) -> int:
    return _length(branch.start, branch.stop, branch.blocks)


def flex_mask_mod(gs: Tensor, ps: Tensor, documents: Tensor | None = None) -> MaskMod:
    """Return the mask as FlexAttention wants it: ``mask(b, h, q, k) -> bool``.

    Args:
        gs: ``[depth, L]``, or ``[B, depth, L]`` for a batch.
        ps: The same shape.
        documents: ``[L]`` or ``[B, L]``; tokens of different documents do not see each other.
    """
    gs, ps = (x if x.ndim == 3 else x[None] for x in (gs, ps))
    if documents is not None and documents.ndim == 1:
        documents = documents[None]
    shared, depth = gs.shape[0] == 1, gs.shape[1]
    one_document = documents is not None and documents.shape[0] == 1

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        row = torch.zeros_like(b) if shared else b
        seen = k <= q
        for level in range(depth):
            seen = seen & ~((gs[row, level, q] <= k) & (k < ps[row, level, q]))
        if documents is not None:
            own = torch.zeros_like(b) if one_document else b
            seen = seen & (documents[own, q] == documents[own, k])
        return seen

    return mask
