"""Tiles that attention visits under the masks of branches: little more than what is visible."""

from __future__ import annotations

import random

import pytest
import torch

from experiments.bench.interval_attention_gpu import (
    count_section,
    interval_mask,
    visible_pairs,
)
from rlcore.inference.parallel import Block, Span, SpanTree, build_intervals
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.tiles import TILE, tile_lists


def grow(draw: random.Random, start: int, depth: int) -> tuple[int, tuple[Block, ...]]:
    """Return the end of a random text from ``start`` on, and its blocks."""
    at, blocks = start + draw.randint(10, 160), []
    for _ in range(draw.randint(1, 2) if depth else 0):
        fork = at
        at, spans = fork + 1, []
        for _ in range(draw.randint(1, 4)):
            stop, inner = grow(draw, at, depth - 1 if draw.random() < 0.3 else 0)
            spans.append(Span(at, stop, (), inner))
            at = stop
        at += draw.randint(1, 80)
        blocks.append(Block(fork, fork, tuple(spans), at))
        at += draw.randint(0, 100)
    return at, tuple(blocks)


def packed(seed: int) -> AttentionMask:
    """Return the mask of a row of one or two random trees of depth up to 3."""
    draw = random.Random(seed)
    trees = [SpanTree(*grow(draw, 0, 3)) for _ in range(draw.randint(1, 2))]
    parts, documents, before = [], [], 0
    for number, tree in enumerate(trees):
        levels = torch.zeros(2, 3, tree.length, dtype=torch.int32)
        gs, ps = build_intervals(tree)
        used = ps > gs
        levels[0, : tree.depth] = torch.where(used, gs + before, 0)
        levels[1, : tree.depth] = torch.where(used, ps + before, 0)
        parts.append(levels)
        documents += [number] * tree.length
        before += tree.length
    gs, ps = torch.cat(parts, -1)
    return AttentionMask(
        intervals=(gs[None], ps[None]), documents=torch.tensor([documents], dtype=torch.int32)
    )


def visible_tiles(mask: AttentionMask) -> int:
    """Count the tiles with a visible pair, from the whole matrix."""
    seen = mask.dense()[0, 0]
    over = -len(seen) % TILE
    seen = torch.nn.functional.pad(seen, (0, over, 0, over))
    return int(seen.unflatten(0, (-1, TILE)).unflatten(-1, (-1, TILE)).any(3).any(1).sum())


@pytest.mark.parametrize("seed", range(8))
def test_hidden_tiles_are_skipped(seed: int) -> None:
    """The bound is a tenth of causal attention over what is visible; found is nearly nothing."""
    mask = packed(seed)
    tiles = -(-(mask.shape or (0, 0))[1] // TILE)
    causal = tiles * (tiles + 1) // 2
    lists = tile_lists(mask, mask.shape or (0, 0))
    visited, needed = int(lists.visited), visible_tiles(mask)
    assert tiles > 3
    assert needed <= visited <= needed + 0.1 * causal
    assert int(sum(lists.of_keys[i].sum() for i in (1, 3))) == visited


def test_fully_visible_tiles_are_not_tested() -> None:
    length = 32 * TILE
    mask = interval_mask(length, branches=4)
    _, fulls, _, opens = tile_lists(mask, (1, length)).of_queries
    dense = mask.dense()[0, 0].unflatten(0, (-1, TILE)).unflatten(-1, (-1, TILE))
    assert int(fulls.sum()) == int(dense.all(3).all(1).sum()) == 231
    assert int((fulls + opens).sum()) == int(dense.any(3).any(1).sum())


def test_the_benchmark_counts_what_is_visible() -> None:
    mask = interval_mask(1000, branches=3)
    assert visible_pairs(mask, 1000) == int(mask.dense().sum())
    found = count_section()["8192 tokens, 4 branches"]
    assert found["causal"] == 64 * 65 // 2
    assert found["pairs"] < found["share"] < found["pairs"] + 0.05
