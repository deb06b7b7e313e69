"""The tables of rows on the device: what a tried-out step may not touch, what an upload brings."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.device_rows import DeviceRows
from rlcore.inference.engine import Engine
from rlcore.inference.graph_runner import GraphKey, GraphRunner
from rlcore.inference.request import Request
from rlcore.inference.rows import IDLE, NORMAL, REPLAY, RowTable
from rlcore.ops.sampling import Sampled
from tests.inference.engine_cases import small_model
from tests.ops.triton_devices import DEVICES

SHARED = ("token", "position", "key", "active", "tail", "top_k", "temperature", "top_p", "penalty")
WAYS = [
    pytest.param("cpu", "torch", id="torch"),
    *(pytest.param(*device.values, "triton", marks=device.marks) for device in DEVICES),
]


def running(**settings: object) -> GraphRunner:
    """An engine's runner in the middle of penalised requests."""
    config = EngineConfig(num_blocks=64, block_size=4, max_rows=8, overlap=True, **settings)
    engine = Engine(small_model(torch.float32), config)
    for seed, penalty in enumerate((1.0, 1.3, 2.0)):
        sampling = SamplingParams(
            seed=seed, temperature=0.5 + seed, top_k=seed, top_p=0.9, repetition_penalty=penalty
        )
        engine.submit(Request(prompt=[seed, 7, 9, 4, 2], max_new_tokens=40, sampling=sampling))
    for _ in range(6):
        engine.step()
    assert isinstance(engine.runner, GraphRunner)
    return engine.runner


def test_a_step_that_is_tried_out_leaves_no_trace_in_the_rows() -> None:
    """A graph is captured after such steps, when the rows of the first replay are there already."""
    runner = running()
    rows = runner.rows
    assert rows.seen is not None
    kept = [rows._longs, rows._ints, rows._floats, rows.seen, rows.lists(rows.width)]
    before = [x.clone() for x in kept]
    with torch.inference_mode(), rows.idle():
        for _ in range(2):
            runner._step(GraphKey(8, rows.width, True, True))
        assert not torch.equal(rows.seen, before[3]), "else the step tried nothing out"
    for value, earlier in zip(kept, before, strict=True):
        assert torch.equal(value, earlier)


def test_the_device_has_what_the_host_has() -> None:
    runner = running()
    host, rows = runner.rows.host, runner.rows
    occupied = host.occupied()
    assert len(occupied) == 3
    for name in SHARED:
        if name != "token":  # drawn on the device
            found = getattr(rows, name)[occupied].numpy()
            np.testing.assert_array_equal(found, getattr(host, name)[occupied], err_msg=name)
    np.testing.assert_array_equal(rows.table[occupied], host.table[occupied, : rows.width])
    np.testing.assert_array_equal(rows.fill[occupied], host.fill[occupied, : rows.width])


def test_fields_of_a_type_lie_together() -> None:
    table = RowTable(5, 3, 4, 100)
    for group, names in (
        ("longs", ("token", "position", "key")),
        ("ints", ("active", "tail", "top_k")),
        ("floats", ("temperature", "top_p", "penalty")),
        ("lists", ("table", "fill")),
    ):
        for place, name in enumerate(names):
            assert np.shares_memory(getattr(table, group)[place], getattr(table, name))


def random_rows(count: int, seed: int) -> RowTable:
    """Idle, feeding and replaying rows; tails that are empty, partly filled and full."""
    g = np.random.default_rng(seed)
    host = RowTable(count, 8, 4, 100)
    host.active[:] = g.choice([IDLE, NORMAL, REPLAY], count)
    host.tail[:] = g.integers(0, 7, count)
    host.table[:] = g.integers(0, 1000, host.table.shape)
    host.position[:] = g.integers(0, 1 << 40, count)
    for row, tail in enumerate(host.tail):
        host.fill[row, :tail] = g.integers(1, 5, tail)
        host.fill[row, tail] = g.integers(0, 5)
    host.width[:] = 8
    host.seated.update(range(count))
    return host


def fill_row(host: RowTable, row: int, g: np.random.Generator, width: int) -> None:
    """Give a row any numbers at all, of which each needs all bits of its type."""
    for fields in (host.longs, host.ints):
        bounds = np.iinfo(fields.dtype)
        fields[:, row] = g.integers(bounds.min, bounds.max, 3)
    host.floats[:, row] = g.standard_normal(3)
    host.width[row] = width
    host.lists[:, row] = 0
    host.lists[:, row, :width] = g.integers(1, 1 << 30, (2, width))


@pytest.mark.parametrize(("device", "backend"), WAYS)
def test_an_upload_places_what_has_changed_and_nothing_else(device: str, backend: str) -> None:
    g = np.random.default_rng(0)
    host = RowTable(21, 50, 4, 100)
    rows = DeviceRows(host, torch.device(device))
    rows.backend = backend
    kept = {name: getattr(host, name).copy() for name in (*SHARED, "table", "fill")}

    def compare(width: int, listed: list[int]) -> None:
        assert rows.width == width
        for name in SHARED:
            np.testing.assert_array_equal(getattr(rows, name).cpu(), kept[name], err_msg=name)
        shown = min(width, 50)
        for name in ("table", "fill"):
            found = getattr(rows, name).cpu().numpy()
            np.testing.assert_array_equal(found[listed, :shown], kept[name][listed, :shown])
            assert not found[:, shown:].any()

    def change(seated: list[int], emptied: list[int], width: int) -> None:
        for row in seated + emptied:
            fill_row(host, row, g, width)
            for name in kept:
                kept[name][row] = getattr(host, name)[row]
        host.seated.update(seated)
        host.emptied.update(emptied)

    everyone = list(range(21))
    change([0, 3, 20], [7], 9)
    fill_row(host, 5, g, 9)  # nobody said so
    rows.upload(np.asarray([0, 3, 20]))
    compare(16, everyone)
    assert len(host.seated | host.emptied) == 0
    change([8], [], 2)
    rows.upload(np.asarray([0, 3, 8, 20]))
    compare(16, everyone)
    rows.upload(np.asarray([0, 3, 8, 20]))
    compare(16, everyone)
    # A longer list: rows that were listed before are listed anew, their fields stay.
    change([1], [], 40)
    rows.upload(np.asarray([0, 1, 3, 8, 20]))
    compare(64, [0, 1, 3, 8, 20])


@pytest.mark.parametrize(("device", "backend"), WAYS)
@pytest.mark.parametrize("count", [1, 9, 150])
def test_the_device_advances_as_the_host_does(count: int, device: str, backend: str) -> None:
    host = random_rows(200, count)
    rows = DeviceRows(host, torch.device(device))
    rows.backend = backend
    rows.upload(np.arange(200))
    ids, positions, slots, table, fill = rows.advance(count, rows.width)
    fed = np.arange(count)
    wanted = host.position[fed].copy()
    busy = host.active[fed] != IDLE
    np.testing.assert_array_equal(positions.cpu(), wanted)
    np.testing.assert_array_equal(slots.cpu()[busy], host.advance(fed[busy]))
    assert bool((slots.cpu()[~busy] == -1).all())
    np.testing.assert_array_equal(ids.cpu(), host.token[fed])
    np.testing.assert_array_equal(table.cpu()[:, :8], host.table[fed])
    np.testing.assert_array_equal(fill.cpu()[:, :8], host.fill[fed])
    for name in ("active", "tail", "position"):
        np.testing.assert_array_equal(getattr(rows, name).cpu(), getattr(host, name), err_msg=name)


@pytest.mark.parametrize(("device", "backend"), WAYS)
def test_what_was_drawn_is_fed_next_and_written_down(device: str, backend: str) -> None:
    rows = DeviceRows(RowTable(100, 8, 4, 100), torch.device(device))
    rows.backend = backend
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 100, (70,), generator=g)
    logs = torch.randn(2, 70, generator=g)
    out = torch.full((3, 100), 7, dtype=torch.int32, device=device)
    rows.record(Sampled(tokens.to(device), *(x.to(device) for x in logs)), out)
    found = out.cpu()
    assert torch.equal(rows.token[:70].cpu(), tokens)
    assert torch.equal(found[0, :70].long(), tokens)
    assert torch.equal(found[1:, :70].contiguous().view(torch.float32), logs)
    assert bool((found[:, 70:] == 7).all())
    assert not rows.token[70:].any()


@pytest.mark.parametrize(("device", "backend"), WAYS)
def test_a_row_that_was_left_reads_no_longer_where_its_long_list_ended(
    device: str, backend: str
) -> None:
    """The lists of the rows that stay are shorter, and the next step feeds all up to the last."""
    host = RowTable(4, 128, 16, 40)
    rows = DeviceRows(host, torch.device(device))
    rows.backend = backend
    for row, blocks in ((host.take(), 70), (host.take(), 1)):
        host.seat(
            row,
            array("i", range(blocks)),
            array("i", [16] * (blocks - 1) + [3]),
            token=1,
            position=5,
            replay=False,
            sampling=SamplingParams(),
            key=0,
        )
    rows.upload(host.occupied())
    assert rows.tail[:2].tolist() == [69, 0]
    host.empty([0])
    rows.upload(host.occupied())
    assert rows.width < 70
    _, _, slots, _, _ = rows.advance(2, rows.width)
    assert rows.tail[:2].tolist() == [0, 0]
    assert slots.tolist() == [-1, 3]
