"""The kernels of paged attention against float64: ragged lists, groups of rows, determinism."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlcore.ops.attention import paged_triton
from rlcore.ops.attention.paged import PagedBatch, SharedPrefix, paged_attention
from tests.ops.paged_batches import PoolBuilder, mixed_rows
from tests.ops.triton_devices import DEVICES, LIMITS, dtypes_of, relative_l2

SHAPES = [(2, 2, 32), (6, 2, 64), (4, 1, 128), (3, 3, 24)]


def on_cpu(batch: PagedBatch) -> PagedBatch:
    tensors = (batch.query_starts, batch.block_table, batch.block_fill, batch.slots)
    return PagedBatch(*(x.cpu() for x in tensors), batch.max_query, batch.max_blocks)


def check(
    build: PoolBuilder, batch: PagedBatch, shape: tuple[int, int, int], device: str
) -> list[torch.Tensor]:
    """Compare the kernel with float64 in every dtype and return its results."""
    heads, kv_heads, dim = shape
    results = []
    for dtype in dtypes_of(device):
        q = build.queries(heads, dim, dtype, device)
        keys, values = (build.pool(kv_heads, dim, dtype, device) for _ in range(2))
        ours = paged_attention(q, keys, values, batch, backend="triton")
        again = paged_attention(q, keys, values, batch, backend="triton")
        assert torch.equal(ours, again)
        wanted = paged_attention(
            *(x.double().cpu() for x in (q, keys, values)), on_cpu(batch), backend="torch"
        )
        assert relative_l2(ours, wanted) <= LIMITS[dtype]
        results.append(ours)
    return results


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [16, 5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decode_only", [True, False])
def test_equals_float64(
    shape: tuple[int, int, int], block: int, decode_only: bool, device: str
) -> None:
    build = mixed_rows(shape[0], block, decode_only)
    check(build, build.batch(device), shape, device)


@pytest.mark.parametrize("device", DEVICES)
def test_long_lists_are_divided(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs may have no tile at all: a short row among long ones."""
    build = PoolBuilder(2, 16, 512)
    for count in (60, 0, 100, 9):
        build.row(build.ragged(count), 1)
    batch = build.batch(device)
    for heads in (2, 8):  # a key head for each query head, and one for four
        q, keys = torch.empty(4, heads, 32), torch.empty(1, 16, 2, 32)
        assert paged_triton.own_parts(q, keys, batch) > 3
        check(build, batch, (heads, 2, 32), device)
        with monkeypatch.context() as patch:
            patch.setattr(paged_triton, "PROGRAMS", {True: 1, False: 1})
            assert paged_triton.own_parts(q, keys, batch) == 1
            check(build, batch, (heads, 2, 32), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("new", [1, 3])
def test_lists_may_be_views_with_gaps(new: int, device: str) -> None:
    build = PoolBuilder(4, 4, 64)
    for count in (3, 7, 1):
        build.row(build.ragged(count), new)
    batch = build.batch(device)
    wide = {
        name: torch.stack([value, torch.full_like(value, 1)], -1)[..., 0]
        for name in ("query_starts", "block_table", "block_fill")
        if (value := getattr(batch, name)) is not None
    }
    assert not wide["block_table"].is_contiguous()
    check(build, replace(batch, **wide), (4, 2, 32), device)


def family(
    seed: int, groups: tuple[tuple[int, int], ...], lone: int, block: int, device: str
) -> tuple[PoolBuilder, PagedBatch]:
    """Groups of ``(shared blocks, rows)`` and rows of their own; one group is padding."""
    build = PoolBuilder(seed, block, 800)
    members, blocks, skip = [], [], []
    for shared, width in groups:
        common = build.ragged(shared)
        members.append(list(range(len(build.rows), len(build.rows) + width)))
        for _ in range(width):
            build.row(common + build.ragged(build.number(0, 3)), 1)
            skip.append(shared)
        blocks.append(shared)
    for _ in range(lone):
        build.row(build.ragged(2), 1)
        skip.append(0)
    width = max(map(len, members))
    padded = [rows + [-1] * (width - len(rows)) for rows in members] + [[-1] * width]
    prefix = SharedPrefix(
        *(torch.tensor(x, dtype=torch.int32, device=device) for x in (padded, [*blocks, 0], skip))
    )
    return build, build.batch(device, prefix)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(2, 2, 32), (6, 2, 64), (8, 1, 128)])
@pytest.mark.parametrize("block", [16, 5])
def test_shared_blocks_change_nothing_but_the_cost(
    shape: tuple[int, int, int], block: int, device: str
) -> None:
    build, batch = family(shape[2], ((40, 4), (2, 1), (1, 3)), 2, block, device)
    check(build, batch, shape, device)


@pytest.mark.parametrize("device", DEVICES)
def test_shared_blocks_are_read_by_the_group_alone(device: str) -> None:
    """The rows' own part starts after the shared blocks; the group's result is used."""
    build, batch = family(7, ((12, 3),), 0, 16, device)
    q = build.queries(2, 32, torch.float32, device)
    keys, values = (build.pool(2, 32, torch.float32, device) for _ in range(2))
    whole = paged_attention(q, keys, values, batch, backend="triton")
    assert batch.prefix is not None
    nothing = SharedPrefix(
        batch.prefix.members, torch.zeros_like(batch.prefix.blocks), batch.prefix.skip
    )
    fields = (batch.query_starts, batch.block_table, batch.block_fill, batch.slots)
    alone = PagedBatch(*fields, 1, batch.max_blocks, nothing)
    room = paged_triton.parts_room
    paged_triton.parts_room = lambda *a: tuple(x.fill_(-torch.inf) for x in room(*a))  # type: ignore[assignment]
    try:
        private = paged_attention(q, keys, values, alone, backend="triton")
    finally:
        paged_triton.parts_room = room
    assert not torch.allclose(whole, private, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
def test_padded_rows_get_zeros_and_rows_without_tokens_nothing(device: str) -> None:
    build = PoolBuilder(6)
    build.row(build.ragged(2), 1)
    one = build.batch(device)
    empty = torch.zeros_like(one.block_fill)
    starts = torch.tensor([0, 1, 1, 2], dtype=torch.int32, device=device)
    table = torch.cat([one.block_table, one.block_table, empty - 1])
    fill = torch.cat([one.block_fill, one.block_fill, empty])
    for width in (1, 2):
        batch = PagedBatch(starts, table, fill, one.slots, width, one.max_blocks)
        q = torch.randn(2, 2, 32, device=device)
        keys, values = (build.pool(2, 32, torch.float32, device) for _ in range(2))
        out = paged_attention(q, keys, values, batch, backend="triton")
        alone = paged_attention(q[:1], keys, values, one, backend="torch")
        assert relative_l2(out[:1], alone) <= 2e-6
        assert torch.equal(out[1], torch.zeros_like(out[1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shared", [False, True])
def test_a_captured_step_follows_its_tables(shared: bool) -> None:
    """Lists that grow between replays are read on the device: no number is baked in."""
    build, batch = family(9, ((20, 4),), 1, 16, "cuda")
    if not shared:
        fields = (batch.query_starts, batch.block_table, batch.block_fill, batch.slots)
        batch = PagedBatch(*fields, 1, batch.max_blocks)
    q = build.queries(4, 64, torch.float32, "cuda")
    keys, values = (build.pool(2, 64, torch.float32, "cuda") for _ in range(2))
    full = batch.block_fill.clone()
    paged_attention(q, keys, values, batch, backend="triton")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = paged_attention(q, keys, values, batch, backend="triton")
    for shorter in (0, 1):
        batch.block_fill.copy_((full - shorter).clamp(min=0))
        graph.replay()
        wanted = paged_attention(
            *(x.double().cpu() for x in (q, keys, values)), on_cpu(batch), backend="torch"
        )
        assert relative_l2(out, wanted) <= 2e-6
