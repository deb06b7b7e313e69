"""What rows share: found, cut into pieces, kept up to date while rows come and go."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlcore.errors import ConfigError
from rlcore.inference import device_pieces, shared_prefix
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.graph_runner import GraphRunner
from rlcore.inference.request import Request
from rlcore.inference.rows import RowTable
from rlcore.inference.shared_prefix import (
    MEMBERS,
    MOST_PIECES,
    PIECES,
    Pieces,
    shared_pieces,
)
from tests.inference.engine_cases import mixed_requests, small_model

BLOCK = 16


def table_of(lists: list[list[int]], fills: list[list[int]] | None = None) -> RowTable:
    """A table whose rows list the given blocks, full ones unless told."""
    rows = RowTable(len(lists), max(map(len, lists)) + 3, BLOCK, 100)
    rows.table[:] = 9_999  # what is not listed must not be read
    for i, blocks in enumerate(lists):
        rows.table[i, : len(blocks)] = blocks
        rows.fill[i, : len(blocks)] = BLOCK if fills is None else fills[i]
        rows.width[i] = len(blocks)
    return rows


def every(rows: RowTable) -> NDArray[np.int64]:
    return np.arange(len(rows.width))


def check(found: Pieces, rows: RowTable, occupied: NDArray[np.int64]) -> None:
    """Members see the same in their pieces, which cover what each row skips, once."""
    covered: dict[int, list[tuple[int, int, int]]] = {int(row): [] for row in occupied}
    for members, (first, last), place in zip(found.members, found.bounds, found.place, strict=True):
        real = [int(row) for row in members if row >= 0]
        if first == last:
            assert not real
            continue
        assert len(real) >= 2
        assert list(members) == real + [-1] * (MEMBERS - len(real)), "the leader comes first"
        for row in real:
            for lists in (rows.table, rows.fill):
                np.testing.assert_array_equal(lists[row, first:last], lists[real[0], first:last])
            covered[row].append((int(place), int(first), int(last)))
    for row, parts in covered.items():
        parts.sort()
        assert [place for place, _, _ in parts] == list(range(found.pieces[row]))
        ends = [0, *(last for _, _, last in parts)]
        assert [first for _, first, _ in parts] == ends[:-1]
        assert ends[-1] == found.skip[row] < max(rows.width[row], 1)
    others = np.setdiff1d(np.arange(len(rows.width)), occupied)
    assert not found.skip[others].any()
    assert not found.pieces[others].any()
    assert found.pieces.max() <= MOST_PIECES


def test_branches_of_one_fork() -> None:
    rows = table_of([[*range(128), 200 + i, 300 + i] for i in range(8)])
    found = shared_pieces(rows, every(rows), kv_heads=8)
    assert found is not None
    check(found, rows, every(rows))
    assert found.skip.tolist() == [128] * 8
    assert found.pieces.tolist() == [16] * 8
    assert len(found.members) == PIECES


def test_deep_groups_win_over_a_short_common_beginning() -> None:
    """Two families behind one system prompt: each is a group of its own."""
    lists = [
        [0, 1, *range(100 * f, 100 * f + 90), 1_000 + 10 * f + i] for f in (1, 2) for i in range(4)
    ]
    rows = table_of(lists)
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    check(found, rows, every(rows))
    assert found.skip.tolist() == [92] * 8


def test_a_long_common_beginning_wins_over_pairs() -> None:
    lists = [
        [*range(90), *range(100 * f, 100 * f + 5), 1_000 + 10 * f + i]
        for f in (1, 2, 3, 4)
        for i in range(2)
    ]
    rows = table_of(lists)
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    check(found, rows, every(rows))
    assert found.skip.tolist() == [90] * 8


def test_each_row_goes_on_from_the_one_before() -> None:
    """All beginnings of one document at once: as many groups within each other as rows."""
    rows = table_of([[*range(length), 2_000 + length] for length in range(1, 513)])
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    check(found, rows, every(rows))

    def saved(entries: int) -> int:
        count = 513 - entries
        return (count - -(-count // MEMBERS)) * entries

    assert found.skip.max() == max(range(1, 512), key=saved)


def test_large_groups_are_divided_and_a_row_left_alone_reads_for_itself() -> None:
    rows = table_of([[*range(50), 100 + i] for i in range(2 * MEMBERS + 1)])
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    check(found, rows, every(rows))
    assert sorted(found.skip) == [0] + [50] * 2 * MEMBERS


def test_lists_part_where_a_fill_differs_and_before_the_entry_that_is_filled() -> None:
    blocks = [*range(60)]
    fills = [[BLOCK] * 60 for _ in range(8)]
    for row in range(4, 8):
        fills[row][41] = 3
    rows = table_of([blocks] * 8, fills)
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    check(found, rows, every(rows))
    assert found.skip.tolist() == [59] * 8, "two groups, each up to the last entry but one"
    fills = [[BLOCK] * 41 + [1 + i] + [BLOCK] * 18 for i in range(8)]
    rows = table_of([blocks] * 8, fills)
    found = shared_pieces(rows, every(rows), 8)
    assert found is not None
    assert found.skip.tolist() == [41] * 8


@pytest.mark.parametrize(
    "lists",
    [
        [[1, 2, 3], [1, 2, 4]],
        [[i] for i in range(5)],
        [[7] for _ in range(300)],
        [[*range(100 * i, 100 * i + 90)] for i in range(6)],
        [[*range(400)]],
    ],
)
def test_nothing_worth_a_kernel(lists: list[list[int]]) -> None:
    assert shared_pieces(table_of(lists), np.arange(len(lists)), 8) is None


def test_no_row_decodes() -> None:
    rows = table_of([[*range(90)]] * 4)
    assert shared_pieces(rows, np.zeros(0, np.int64), 8) is None


@pytest.mark.parametrize("seed", range(30))
def test_random_trees(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_prefix, "WORTH_TOKENS", 1)
    r = np.random.default_rng(seed)
    free = iter(r.permutation(50_000).tolist())

    def grow(depth: int, blocks: list[int], fills: list[int]) -> list[tuple[list[int], list[int]]]:
        count = int(r.integers(0, 40))
        blocks = blocks + [next(free) for _ in range(count)]
        fills = fills + r.integers(1, BLOCK + 1, count).tolist()
        if depth == 0:
            return [(blocks, fills)] if blocks else []
        return [row for _ in range(int(r.integers(1, 5))) for row in grow(depth - 1, blocks, fills)]

    made = [row for _ in range(int(r.integers(1, 6))) for row in grow(3, [], [])]
    order = r.permutation(len(made))
    rows = table_of([made[i][0] for i in order], [made[i][1] for i in order])
    occupied = np.flatnonzero(r.random(len(made)) < 0.8)
    found = shared_pieces(rows, occupied, int(r.choice([1, 2, 8])))
    if found is not None:
        check(found, rows, occupied)


def test_many_groups_keep_those_that_save_most() -> None:
    lists = [
        [*range(1_000 * g, 1_000 * g + 10 + g % 7), 900_000 + 2 * g + i]
        for g in range(PIECES + 40)
        for i in range(2)
    ]
    rows = table_of(lists)
    found = shared_pieces(rows, every(rows), 1)
    assert found is not None
    check(found, rows, every(rows))
    kept = np.sort(found.skip[::2])
    assert (kept == 0).sum() == 40
    assert sorted(10 + g % 7 for g in range(PIECES + 40))[40:] == kept[40:].tolist()


class Watched(device_pieces.DevicePieces):
    """Checks the device's numbers after every update."""

    shared = 0

    def update(self, occupied: NDArray[np.int64]) -> None:
        super().update(occupied)
        if self.own == 0:
            return
        Watched.shared += 1
        host = self.rows.host
        shared = self.prefix(len(host.width), self.own)
        names = ("members", "bounds", "place", "skip", "pieces")
        found = Pieces(*(getattr(shared, name).numpy() for name in names))
        check(found, host, occupied)
        assert (host.width[occupied] - found.skip[occupied] <= shared.most_own).all()
        assert found.pieces.max() <= shared.most_pieces


@pytest.mark.parametrize("blocks", [400, 60])
def test_an_engine_keeps_its_pieces_up_to_date(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With preemption where blocks are short; the tokens are those of an engine without."""
    monkeypatch.setattr(shared_prefix, "WORTH_TOKENS", 8)
    monkeypatch.setattr("rlcore.inference.graph_runner.DevicePieces", Watched)
    model = small_model(torch.float32)
    requests = [*mixed_requests(12, 48), Request(prompt=list(range(30)), max_new_tokens=20, n=6)]
    settings = {"num_blocks": blocks, "block_size": 4, "max_rows": 16, "overlap": True}
    Watched.shared = 0
    traces = []
    for cascade in (True, False):
        engine = Engine(model, EngineConfig(**settings, cascade=cascade))  # type: ignore[arg-type]
        handles = [engine.submit(request) for request in requests]
        forked = engine.submit(Request(prompt=list(range(40)), max_new_tokens=60))
        while len(forked.root.token_ids) < 5:
            engine.step()
        children = forked.root.fork(4, [[1], [2], [3, 4], [5]])
        for _ in range(6):
            engine.step()
        for child in children:
            child.stop()
        forked.root.join([1, 0, 3, 2], [9])
        traces.append([trace for h in (*handles, forked) for trace in h.result()])
        assert isinstance(engine.runner, GraphRunner)
        assert (engine.runner.pieces is not None) == cascade
    assert Watched.shared > 10
    for ours, wanted in zip(*traces, strict=True):
        assert ours.ids.tolist() == wanted.ids.tolist()


def test_rows_that_pass_are_not_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a join the children's last tokens ride along: a step in which they share nothing."""
    asked: list[list[int]] = []

    def recorded(rows: RowTable, occupied: NDArray[np.int64], kv_heads: int) -> Pieces | None:
        asked.append(occupied.tolist())
        return shared_pieces(rows, occupied, kv_heads)

    monkeypatch.setattr(device_pieces, "shared_pieces", recorded)
    config = EngineConfig(num_blocks=80, block_size=4, max_rows=8, overlap=True, cascade=True)
    engine = Engine(small_model(torch.float32), config)
    handle = engine.submit(Request(prompt=list(range(9)), max_new_tokens=80))
    engine.step()
    children = handle.root.fork(3, [[1, 2], [3, 4], [5, 6]])
    for _ in range(4):
        engine.step()
    for child in children:
        child.stop()
    handle.root.join(forced=[7])
    asked.clear()
    fed: list[int] = []
    upload = engine.runner.rows.upload  # type: ignore[attr-defined]

    def watched(occupied: NDArray[np.int64]) -> None:
        fed.append(len(occupied))
        upload(occupied)

    monkeypatch.setattr(engine.runner.rows, "upload", watched)  # type: ignore[attr-defined]
    engine.step()
    assert fed == [4], "the root and one token of each child"
    assert [len(rows) for rows in asked] == [1]
    engine.step()
    assert fed == [4, 1]
    assert len(asked) == 1, "that they are gone changes no group"
    handle.root.fork(2, [[1], [2]])
    engine.step()
    assert [len(rows) for rows in asked] == [1, 2], "a fork does, in rows that passed before"


def test_rows_are_regrouped_when_one_that_stays_comes_or_goes() -> None:
    table = RowTable(6, 4, BLOCK, 100)

    def regrouped() -> bool:
        found, table.regrouped = table.regrouped, False
        return found

    def seat(passing: bool) -> int:
        row = table.take()
        table.seat(
            row, array("i", [row]), array("i", [1]), token=1, position=1, replay=False,
            sampling=SamplingParams(), key=0, passing=passing,
        )  # fmt: skip
        return row

    stays = [seat(passing=False)]
    assert regrouped()
    passes = [seat(passing=True), seat(passing=True)]
    assert not regrouped()
    assert table.passing.tolist() == [False, True, True, False, False, False]
    table.empty(passes)
    assert not regrouped()
    assert seat(passing=False) == passes[0], "a row that passed is a row like any other"
    assert regrouped()
    table.empty([*stays, seat(passing=True)])
    assert regrouped()


def test_a_runner_without_graphs_refuses_to_share() -> None:
    with pytest.raises(ConfigError, match=r"engine\.cascade=true .* torch\.float64"):
        Engine(small_model(torch.float64), EngineConfig(num_blocks=20, cascade=True))
