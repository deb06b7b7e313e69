"""The kernels of paged attention against float64: ragged lists, groups of rows, determinism."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlcore.ops.attention import paged_sizes_triton, paged_triton
from rlcore.ops.attention.paged import PagedBatch, SharedPrefix, paged_attention
from rlcore.ops.attention.paged_sizes_triton import SHARED_QUERIES, SHARED_TILE, fitting_tile
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
            patch.setattr(paged_sizes_triton, "PROGRAMS", {True: 1, False: 1})
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
    seed: int, groups: tuple[tuple[int, int], ...], lone: int, block: int, device: str, size: int
) -> tuple[PoolBuilder, PagedBatch]:
    """Groups of ``(shared blocks, rows)`` in pieces of ``size`` entries, and rows of their own."""
    build = PoolBuilder(seed, block, 800)
    members: list[list[int]] = []
    bounds, place, skip, pieces, own = [], [], [], [], []
    for shared, width in groups:
        common = build.ragged(shared)
        rows = list(range(len(build.rows), len(build.rows) + width))
        firsts = range(0, shared, size)
        for number, first in enumerate(firsts):
            members.append(rows)
            bounds.append([first, min(first + size, shared)])
            place.append(number)
        for _ in rows:
            own.append(build.number(0, 3))
            build.row(common + build.ragged(own[-1]), 1)
            skip.append(shared)
            pieces.append(len(firsts))
    for _ in range(lone):
        build.row(build.ragged(2), 1)
        own.append(2)
        skip.append(0)
        pieces.append(0)
    widest = max(map(len, members)) + 1
    padded = [rows + [-1] * (widest - len(rows)) for rows in members] + [[-1] * widest] * 2
    numbers = (padded, [*bounds, [0, 0], [3, 3]], [*place, 0, 0], skip, pieces)
    prefix = SharedPrefix(
        *(torch.tensor(x, dtype=torch.int32, device=device) for x in numbers),
        most_pieces=max(pieces) + 1,
        most_own=max(own) + 1,
    )
    return build, build.batch(device, prefix)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(2, 2, 32), (6, 2, 64), (8, 1, 128)])
@pytest.mark.parametrize("block", [16, 5])
@pytest.mark.parametrize("divided", [False, True])
def test_shared_blocks_change_nothing_but_the_cost(
    shape: tuple[int, int, int],
    block: int,
    divided: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows' own parts in one program, which takes the pieces in, or in several, merged after."""
    if divided:
        monkeypatch.setattr(paged_triton, "own_parts", lambda *_: 3)
    build, batch = family(shape[2], ((40, 4), (2, 1), (1, 3)), 2, block, device, size=7)
    check(build, batch, shape, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(32, 1, 64), (8, 1, 256)])
def test_large_groups_and_wide_heads_fit_into_shared_memory(
    shape: tuple[int, int, int], device: str
) -> None:
    """Queries are divided among programs, and wide keys are read a few at a time."""
    build, batch = family(3, ((20, 15),), 1, 16, device, size=12)
    assert batch.prefix is not None
    assert batch.prefix.members.shape[1] * shape[0] >= SHARED_QUERIES
    check(build, batch, shape, device)


@pytest.mark.parametrize(
    ("dim", "dtype", "queries", "memory", "tile"),
    [
        (128, torch.bfloat16, 128, 227, 128),
        (256, torch.bfloat16, 128, 227, 64),
        (256, torch.float32, 128, 227, 16),
        (128, torch.bfloat16, 64, 99, 64),
        (128, torch.float32, 16, 163, 64),
    ],
)
def test_a_step_over_shared_blocks_fits_the_memory(
    dim: int, dtype: torch.dtype, queries: int, memory: int, tile: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By hand: ``queries + 4 tile`` rows of ``dim`` numbers in so many KiB."""
    monkeypatch.setattr(paged_sizes_triton, "shared_memory", lambda device: memory << 10)
    keys = torch.empty(1, 16, 1, dim, dtype=dtype)
    assert fitting_tile(keys, queries, SHARED_TILE) == tile


@pytest.mark.parametrize("device", DEVICES)
def test_shared_blocks_are_read_by_the_group_alone(device: str) -> None:
    """The rows' own part starts after the shared blocks; the group's result is used."""
    build, batch = family(7, ((12, 3),), 0, 16, device, size=12)
    q = build.queries(2, 32, torch.float32, device)
    keys, values = (build.pool(2, 32, torch.float32, device) for _ in range(2))
    whole = paged_attention(q, keys, values, batch, backend="triton")
    assert batch.prefix is not None
    without = replace(batch.prefix, pieces=torch.zeros_like(batch.prefix.pieces))
    private = paged_attention(q, keys, values, replace(batch, prefix=without), backend="triton")
    assert not torch.allclose(whole, private)
    # What is left is the rows' own entries.
    fill = batch.block_fill.clone()
    fill[:, :12] = 0
    own = paged_attention(q, keys, values, replace(batch, block_fill=fill, prefix=None))
    assert relative_l2(private, own) <= LIMITS[torch.float32]


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
    build, batch = family(9, ((20, 4),), 1, 16, "cuda", size=8)
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("parts", [1, 3])
def test_pieces_that_start_early_wait_for_their_inputs(
    parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call feeds the next; the rows' own kernel runs beside that of the pieces."""
    monkeypatch.setattr(paged_triton, "own_parts", lambda *_: parts)
    build, batch = family(5, ((90, 8), (60, 5)), 3, 16, "cuda", size=8)
    q = build.queries(8, 64, torch.bfloat16, "cuda")
    keys, values = (build.pool(8, 64, torch.bfloat16, "cuda") for _ in range(2))

    def chain() -> torch.Tensor:
        x = q
        for _ in range(12):
            x = 4.0 * paged_attention(x, keys, values, batch, backend="triton")
        return x

    wanted = chain()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = chain()
    for _ in range(200):
        found.zero_()
        graph.replay()
        assert torch.equal(found, wanted)
