"""Paged attention: its definition, the backends, block order, padded rows, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import ConfigError
from rlcore.ops.attention.paged import PagedBatch, paged_attention
from rlcore.ops.attention.paged_torch import GATHERED_SLOTS
from tests.ops.paged_batches import PoolBuilder, mixed_rows

HEADS = [(4, 4), (4, 2), (6, 1)]


def dense_rows(q, keys, values, batch: PagedBatch, scale: float):
    """A second definition: a softmax over the whole pool, one row at a time, as one matrix."""
    block, out = keys.shape[1], []
    for row in range(batch.rows):
        listed = [
            int(i) * block + o
            for i, count in zip(batch.block_table[row], batch.block_fill[row], strict=True)
            for o in range(int(count))
        ]
        start, stop = (int(x) for x in batch.query_starts[row : row + 2])
        new = stop - start
        k, v = keys.flatten(0, 1)[listed], values.flatten(0, 1)[listed]
        ratio = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(ratio, 1), v.repeat_interleave(ratio, 1)
        scores = torch.einsum("qhd,khd->hqk", q[start:stop], k) * scale
        hidden = torch.ones(new, len(listed), dtype=torch.bool).triu(len(listed) - new + 1)
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        out.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(out)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_equals_a_dense_softmax(heads: int, kv_heads: int, backend: str) -> None:
    build = mixed_rows(heads + kv_heads)
    batch = build.batch()
    q = build.queries(heads, 8, torch.float64)
    keys, values = (build.pool(kv_heads, 8, torch.float64) for _ in range(2))
    ours = paged_attention(q, keys, values, batch, backend=backend)
    wanted = dense_rows(q, keys, values, batch, 1 / math.sqrt(8))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)
    ours = paged_attention(q, keys, values, batch, scale=0.7, backend=backend)
    wanted = dense_rows(q, keys, values, batch, 0.7)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)


@given(
    seed=st.integers(0, 2**31),
    block=st.sampled_from([1, 3, 16]),
    news=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    ratio=st.sampled_from([1, 3]),
)
def test_torch_equals_the_reference(seed: int, block: int, news: list[int], ratio: int) -> None:
    build = PoolBuilder(seed, block, 128)
    for new in news:
        build.row(build.ragged(build.number(0, 4)), new)
    batch = build.batch()
    q = build.queries(2 * ratio, 4, torch.float64)
    keys, values = (build.pool(2, 4, torch.float64) for _ in range(2))
    ours = paged_attention(q, keys, values, batch, backend="torch")
    wanted = paged_attention(q, keys, values, batch, backend="reference")
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)


def test_torch_takes_many_rows_in_portions() -> None:
    """Long and short rows, gathered some at a time or attended where they lie."""
    build = PoolBuilder(3, 16, 512)
    for count in (9, 1, 20, 9, 3, 9, 0, 30):
        build.row(build.ragged(count), 1)
    run = range(300, 340)
    build.free = [i for i in build.free if i not in run]
    build.rows = [[e for e in row if e[0] not in run] for row in build.rows]
    for start in (300, 320):
        build.rows.append([(i, 16) for i in range(start, start + 9)] + [(start + 9, 5)])
        build.new.append(2)
    batch = build.batch()
    q = build.queries(4, 8, torch.float64)
    keys, values = (build.pool(2, 8, torch.float64) for _ in range(2))
    ours = paged_attention(q, keys, values, batch, backend="torch")
    wanted = paged_attention(q, keys, values, batch, backend="reference")
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-12)
    groups = batch.plans[16]
    assert sorted(group.first for group in groups if group.first and len(group.slots) > 128) == [
        300 * 16,
        320 * 16,
    ]
    sizes = [len(g.slots) for g in groups if g.tokens.shape[0] > 1]
    assert sizes
    assert max(sizes) <= GATHERED_SLOTS
    taken = torch.cat([g.tokens.flatten() for g in groups])
    assert sorted(taken.tolist()) == list(range(len(q)))


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_block_order_and_placement_do_not_matter(backend: str) -> None:
    """Permuting a row's older blocks, or moving a block in the pool, leaves the result alone."""
    build = PoolBuilder(5)
    listed = build.ragged(5)
    build.row(listed, 3)
    build.row([listed[i] for i in (3, 0, 4, 1, 2)], 3)
    build.rows[1][-1] = build.rows[0][-1]
    q = build.queries(4, 16, torch.float64)
    q[3:] = q[:3]
    keys, values = (build.pool(2, 16, torch.float64) for _ in range(2))
    out = paged_attention(q, keys, values, build.batch(), backend=backend)
    torch.testing.assert_close(out[3:], out[:3], rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_a_row_that_sees_nothing_gets_zeros(backend: str) -> None:
    build = PoolBuilder(6)
    build.row(build.ragged(2), 1)
    batch = build.batch()
    empty = torch.zeros_like(batch.block_fill)
    padded = PagedBatch(
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.cat([batch.block_table, torch.full_like(empty, -1)]),
        torch.cat([batch.block_fill, empty]),
        torch.cat([batch.slots, torch.tensor([-1])]),
        1,
        batch.max_blocks,
    )
    q = torch.randn(2, 2, 8, dtype=torch.float64)
    keys, values = (build.pool(2, 8, torch.float64) for _ in range(2))
    out = paged_attention(q, keys, values, padded, backend=backend)
    alone = paged_attention(q[:1], keys, values, batch, backend=backend)
    torch.testing.assert_close(out[:1], alone, rtol=0, atol=1e-13)
    assert torch.equal(out[1], torch.zeros(2, 8, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_no_rows_and_no_tokens(backend: str) -> None:
    keys = torch.randn(4, 2, 1, 8)
    none = torch.zeros(0, 3, dtype=torch.int32)
    batch = PagedBatch(torch.zeros(1, dtype=torch.int32), none, none, torch.zeros(0).long(), 0, 0)
    assert paged_attention(torch.zeros(0, 2, 8), keys, keys, batch, backend=backend).shape == (
        0,
        2,
        8,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_in_lower_precision(dtype: torch.dtype) -> None:
    build = mixed_rows(9)
    q = build.queries(8, 64, dtype)
    keys, values = (build.pool(2, 64, dtype) for _ in range(2))
    ours = paged_attention(q, keys, values, build.batch(), backend="torch")
    assert ours.dtype == dtype
    wanted = paged_attention(q.double(), keys.double(), values.double(), build.batch())
    error = float((ours.double() - wanted).norm() / wanted.norm())
    assert error <= (2e-6 if dtype == torch.float32 else 8e-3)


def _call(**changes):
    build = mixed_rows(1)
    arguments = {
        "q": build.queries(4, 8, torch.float32),
        "keys": build.pool(2, 8, torch.float32),
        "values": build.pool(2, 8, torch.float32),
        "batch": build.batch(),
    }
    return paged_attention(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": torch.zeros(3, 8)}, r"wants q \[N, H, D\]"),
        ({"values": torch.zeros(2, 2, 2, 8)}, r"got .*\(2, 2, 2, 8\)"),
        ({"q": torch.zeros(65, 3, 8)}, "q has 3 heads of width 8, the pool 2 of width 8"),
        ({"q": torch.zeros(65, 4, 4)}, "q has 4 heads of width 4, the pool 2 of width 8"),
        ({"q": torch.zeros(65, 4, 8).double()}, r"one floating-point dtype, got torch.float64"),
        ({"q": torch.zeros(65, 4, 8, device="meta")}, r"on one device, got \['cpu', 'meta'\]"),
        ({"backend": "fast"}, "backend must be one of"),
    ],
)
def test_bad_input_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _call(**changes)


def test_a_table_of_another_shape_is_named() -> None:
    batch = mixed_rows(1).batch()
    wrong = PagedBatch(
        batch.query_starts, batch.block_table[:-1], batch.block_fill, batch.slots, 37, 9
    )
    with pytest.raises(ConfigError, match=r"query_starts \[R \+ 1\]"):
        _call(batch=wrong)
