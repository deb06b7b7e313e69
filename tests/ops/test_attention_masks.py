"""Masks of whole rows: the dense form is the definition; every fast path equals it."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.ops.attention.dense import attention, choose_backend, plan_attention
from rlcore.ops.attention.masks import AttentionMask
from rlcore.ops.attention.short_rows import LONGEST
from rlcore.ops.attention.tiles import TILE, tile_lists, tile_tables

PARTS = ("documents", "blocks", "intervals", "padding")


def random_mask(seed: int, rows: int, length: int, parts: set[str], causal: bool) -> AttentionMask:
    """A mask of these parts; documents and blocks grow along the row, as they do in use."""
    g = torch.Generator().manual_seed(seed)

    def growing(most: int) -> torch.Tensor:
        numbers = torch.randint(0, most, (rows, length), generator=g)
        return numbers.sort(1).values.to(torch.int32)

    ends = torch.randint(0, length + 1, (2, rows, 2, length), generator=g).sort(0).values
    if seed % 2:  # intervals of real trees are alike for neighbours, and often unused
        ends = ends[..., :1].expand(2, rows, 2, length) * (torch.arange(length) > length // 2)
    real = torch.rand(rows, length, generator=g) < 0.8
    if seed % 3 == 0:
        real = torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=g)
    return AttentionMask(
        causal=causal,
        documents=growing(4) if "documents" in parts else None,
        blocks=growing(6) if "blocks" in parts else None,
        intervals=(ends[0].int(), ends[1].int()) if "intervals" in parts else None,
        padding=real if "padding" in parts else None,
    )


masks = st.builds(
    random_mask,
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 3),
    length=st.integers(1, 300),
    parts=st.sets(st.sampled_from(PARTS), min_size=1),
    causal=st.booleans(),
)


def by_hand(mask: AttentionMask, row: int, q: int, k: int) -> bool:
    """One pair, as the documentation says it."""
    if mask.causal and k > q:
        return False
    if mask.documents is not None and mask.documents[row, q] != mask.documents[row, k]:
        return False
    if mask.blocks is not None and mask.blocks[row, k] > mask.blocks[row, q]:
        return False
    if mask.intervals is not None:
        gs, ps = mask.intervals
        for level in range(gs.shape[1]):
            if gs[row, level, q] <= k < ps[row, level, q]:
                return False
    return mask.padding is None or bool(mask.padding[row, k])


@given(
    seed=st.integers(0, 1000),
    length=st.integers(1, 7),
    parts=st.sets(st.sampled_from(PARTS), min_size=1),
    causal=st.booleans(),
)
def test_dense_is_the_definition_pair_by_pair(seed, length, parts, causal) -> None:
    mask = random_mask(seed, 2, length, parts, causal)
    dense = mask.dense()
    assert dense.shape == (2, 1, length, length)
    for row, q, k in itertools.product(range(2), range(length), range(length)):
        assert bool(dense[row, 0, q, k]) == by_hand(mask, row, q, k)


def test_masks_without_tensors_want_a_shape() -> None:
    assert AttentionMask().dense((2, 3))[1, 0].tolist() == [
        [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip
    assert AttentionMask(causal=False).dense((1, 2)).all()
    with pytest.raises(ConfigError, match="wants the shape"):
        AttentionMask().dense()


def test_block_causal_rows_see_their_block_and_those_before() -> None:
    mask = AttentionMask(causal=False, blocks=torch.tensor([[0, 0, 1, 1, 2]]))
    assert mask.dense()[0, 0].int().tolist() == [
        [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1],
    ]  # fmt: skip


def test_intervals_hide_siblings_and_nothing_else() -> None:
    # prefix 0 1 | branch 2 3 | branch 4 5 | join 6
    gs = torch.tensor([[[0, 0, 2, 2, 2, 2, 0]]])
    ps = torch.tensor([[[0, 0, 2, 2, 4, 4, 0]]])
    seen = AttentionMask(intervals=(gs, ps)).dense()[0, 0]
    assert seen[5].int().tolist() == [1, 1, 0, 0, 1, 1, 0]
    assert seen[3].int().tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert seen[6].all()


@given(mask=masks)
def test_tiles_skip_nothing_visible_and_call_full_only_what_is(mask: AttentionMask) -> None:
    rows, length = mask.shape
    dense = mask.dense()[:, 0]
    visible, full = tile_tables(mask, (rows, length))
    count = -(-length // TILE)
    assert visible.shape == full.shape == (rows, count, count)
    for row, q, k in itertools.product(range(rows), range(count), range(count)):
        tile = dense[row, q * TILE : (q + 1) * TILE, k * TILE : (k + 1) * TILE]
        if not visible[row, q, k]:
            assert not tile.any()
        if full[row, q, k]:
            assert tile.all()
    assert not (full & ~visible).any()


@pytest.mark.parametrize("part", ["causal", *PARTS])
def test_tiles_of_one_rule_are_exact(part: str) -> None:
    """Each rule alone skips every empty tile and tests no full one."""
    length = 5 * TILE
    token = torch.arange(length)
    document = (token // 200).int()[None]
    branch = torch.where(token < 2 * TILE, 0, 2 * TILE).int()
    own = torch.where(token < 2 * TILE, 0, torch.where(token < 4 * TILE, 2 * TILE, 4 * TILE)).int()
    mask = {
        "causal": AttentionMask(),
        "documents": AttentionMask(causal=False, documents=document),
        "blocks": AttentionMask(causal=False, blocks=(token // 100).int()[None]),
        "intervals": AttentionMask(causal=False, intervals=(branch[None, None], own[None, None])),
        "padding": AttentionMask(causal=False, padding=(token < 300)[None]),
    }[part]
    visible, full = tile_tables(mask, (1, length))
    dense = mask.dense((1, length))[0, 0].unflatten(0, (-1, TILE)).unflatten(-1, (-1, TILE))
    assert torch.equal(visible[0], dense.any(3).any(1))
    assert torch.equal(full[0], dense.all(3).all(1))
    assert not visible.all()
    assert full.any()


@pytest.mark.parametrize("first", [TILE - 1, TILE, TILE + 1, 2 * TILE - 1])
@pytest.mark.parametrize("behind", [2 * TILE - 1, 2 * TILE, 2 * TILE + 1, 3 * TILE])
def test_tiles_are_exact_where_intervals_begin_and_end(first: int, behind: int) -> None:
    """One key more or less at the border of a tile makes it open, and not hidden or full."""
    length = 5 * TILE
    hides = torch.arange(length) >= 4 * TILE
    gs, ps = (torch.where(hides, x, 0).int()[None, None] for x in (first, behind))
    mask = AttentionMask(causal=False, intervals=(gs, ps))
    visible, full = tile_tables(mask, (1, length))
    dense = mask.dense()[0, 0].unflatten(0, (-1, TILE)).unflatten(-1, (-1, TILE))
    assert torch.equal(visible[0], dense.any(3).any(1))
    assert torch.equal(full[0], dense.all(3).all(1))


def test_documents_that_come_back_are_not_skipped() -> None:
    documents = torch.zeros(1, 4 * TILE, dtype=torch.int32)
    documents[:, TILE : 2 * TILE] = 7
    visible, full = tile_tables(AttentionMask(documents=documents), (1, 4 * TILE))
    assert visible[0].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert full[0].int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]]


def test_the_number_of_tiles_follows_the_documents_not_the_square() -> None:
    """64 documents of one tile each: 64 tiles of 4,096 are computed."""
    documents = (torch.arange(64 * TILE) // TILE).int()[None]
    lists = tile_lists(AttentionMask(documents=documents), (1, 64 * TILE))
    _, fulls, _, opens = lists.of_queries
    assert int(opens.sum()) == 64
    assert int(fulls.sum()) == 0


def heads(seed: int, rows: int, length: int, count: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, count, 8, generator=g, dtype=torch.float64)


@settings(max_examples=15)
@given(mask=masks, kv_heads=st.sampled_from([1, 2, 4]))
def test_fused_attention_equals_the_reference(mask, kv_heads) -> None:
    rows, length = mask.shape
    q, k, v = heads(0, rows, length, 4), *(heads(s, rows, length, kv_heads) for s in (1, 2))
    reference = attention(q, k, v, plan_attention(mask, (rows, length), q, "reference"))
    fused = attention(q, k, v, plan_attention(mask, (rows, length), q, "torch"))
    assert (fused - reference).abs().max() < 1e-12
    assert attention(q, k, v, mask).equal(fused)


@given(mask=masks)
def test_gradients_equal_the_references(mask) -> None:
    rows, length = mask.shape
    grads = []
    for backend in ("reference", "torch"):
        inputs = [heads(s, rows, length, n).requires_grad_() for s, n in ((0, 4), (1, 2), (2, 2))]
        plan = plan_attention(mask, (rows, length), inputs[0], backend)
        attention(*inputs, plan).square().sum().backward()
        grads.append([x.grad for x in inputs])
    for one, other in zip(*grads, strict=True):
        assert torch.isfinite(one).all()
        assert (one - other).abs().max() < 1e-11


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient(backend: str) -> None:
    mask = AttentionMask(padding=torch.tensor([[False, False, True, True]]))
    q, k, v = (heads(s, 1, 4, 2).requires_grad_() for s in range(3))
    out = attention(q, k, v, plan_attention(mask, (1, 4), q, backend))
    assert out[0, :2].abs().max() == 0
    assert out[0, 2:].abs().min() > 0
    out.sum().backward()
    for x in (q, k, v):
        assert torch.isfinite(x.grad).all()
        assert x.grad[0, :2].abs().max() == 0


@pytest.mark.parametrize("causal", [True, False])
def test_plain_masks_equal_the_reference_and_make_no_matrix(causal: bool) -> None:
    q, k, v = heads(0, 2, 33, 4), heads(1, 2, 33, 2), heads(2, 2, 33, 2)
    mask = AttentionMask(causal=causal)
    plan = plan_attention(mask, (2, 33), q)
    assert plan.seen is None
    reference = attention(q, k, v, plan_attention(mask, (2, 33), q, "reference"))
    assert (attention(q, k, v, plan) - reference).abs().max() < 1e-12
    scaled = attention(q, k, v, plan, scale=0.7)
    other = attention(q, k, v, plan_attention(mask, (2, 33), q, "reference"), scale=0.7)
    assert (scaled - other).abs().max() < 1e-12
    assert (scaled - reference).abs().max() > 0.01


def test_scores_are_softmax_of_scaled_products() -> None:
    """The reference itself, against the formula for one query."""
    q, k, v = heads(0, 1, 3, 2), heads(1, 1, 3, 1), heads(2, 1, 3, 1)
    out = attention(q, k, v, plan_attention(AttentionMask(), (1, 3), q, "reference"))
    for head in range(2):
        scores = torch.tensor([float(q[0, 1, head] @ k[0, j, 0]) / 8**0.5 for j in range(2)])
        weight = torch.exp(scores.double()) / torch.exp(scores.double()).sum()
        wanted = weight[0] * v[0, 0, 0] + weight[1] * v[0, 1, 0]
        assert (out[0, 1, head] - wanted).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"documents": torch.zeros(2, 3), "blocks": torch.zeros(2, 4)}, "one shape"),
        ({"documents": torch.zeros(3)}, "one shape"),
        ({"intervals": (torch.zeros(1, 3), torch.zeros(1, 3))}, r"two tensors \[B, L, S\]"),
        ({"intervals": (torch.zeros(1, 2, 3), torch.zeros(1, 1, 3))}, "two tensors"),
        ({"padding": torch.zeros(1, 3, dtype=torch.int64)}, "padding wants bool"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AttentionMask(**parts)


def test_auto_takes_the_kernels_where_they_can_run() -> None:
    documents = torch.zeros(2, 300, dtype=torch.int32)
    ruled, plain = AttentionMask(documents=documents), AttentionMask()
    padded = AttentionMask(causal=False, padding=torch.ones(2, LONGEST, dtype=torch.bool))
    longer = AttentionMask(causal=False, padding=torch.ones(2, LONGEST + 1, dtype=torch.bool))
    causal = AttentionMask(padding=torch.ones(2, LONGEST, dtype=torch.bool))

    class OnGPU(torch.Tensor):
        is_cuda = True

    def chosen(mask: AttentionMask, dtype: torch.dtype, dim: int, kind: type = OnGPU) -> str:
        return choose_backend(mask, mask.shape or (2, 300), kind(torch.zeros(1, dtype=dtype)), dim)

    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert chosen(ruled, dtype, 128) == "triton"
        assert chosen(ruled, dtype, 129) == "torch"
        assert chosen(plain, dtype, 64) == chosen(padded, dtype, 64) == "torch"
        # The kernel of short rows knows neither longer ones nor causality.
        assert chosen(longer, dtype, 64) == chosen(causal, dtype, 64) == "triton"
        assert chosen(ruled, dtype, 64, torch.Tensor) == "torch"
    assert chosen(ruled, torch.float64, 64) == "torch"


def test_plans_that_cannot_be_made_are_refused() -> None:
    q = heads(0, 1, 4, 2)
    mask = AttentionMask(documents=torch.zeros(2, 4, dtype=torch.int32))
    with pytest.raises(ConfigError, match=r"rows \(2, 4\) does not fit rows \(1, 4\)"):
        plan_attention(mask, (1, 4), q)
    with pytest.raises(ConfigError, match="numba"):
        plan_attention(AttentionMask(), (1, 4), q, "numba")
    with pytest.raises(ConfigError, match="wants"):
        plan_attention(AttentionMask(), (1, 4), q, "triton")
    with pytest.raises(ConfigError, match="dropout wants backend 'torch', got 'reference'"):
        plan_attention(AttentionMask(), (1, 4), q, "reference", dropout=0.1)
