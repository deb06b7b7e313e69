"""Samples that end in one step: each leaves what it would have left alone."""

from __future__ import annotations

import gc
import weakref
from dataclasses import fields

import numpy as np
import pytest
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.errors import EngineError, RequestError
from rlcore.inference.request import Request
from rlcore.inference.rows import RowTable
from rlcore.inference.step_log import StepLog
from rlcore.inference.trace import ParallelTrace
from tests.inference.engine_cases import small_model

ARRAYS = ("ids", "kinds", "versions", "positions", "forced", "drawn", "gs", "ps")
ALONE = ("tree", "prompt_tokens", "turn_start", "finish_reason", "critical_path_steps", "depth",
         "runs", "n_forks", "invalid_fork", "peak_blocks")  # fmt: skip
"""Facts of a trace that do not depend on the company."""
NEW = 12


def make_engine(**settings: object) -> Engine:
    defaults = {"num_blocks": 256, "block_size": 4, "prefix_cache": False}
    return Engine(small_model(), EngineConfig(**(defaults | settings)))


def requests() -> list[Request]:
    """Plain ones, several samples, stop tokens and budgets; most end in the same step."""
    r = np.random.default_rng(0)
    return [
        Request(
            prompt=r.integers(0, 48, int(r.integers(1, 20))).tolist(),
            max_new_tokens=NEW,
            max_path_tokens=None if seed % 4 else 8,
            n=1 + seed % 3,
            stop_ids=[5] if seed % 2 else [],
            stop_sequences=[[7]] if seed % 5 == 0 else [],
            sampling=SamplingParams(seed=seed),
            keep=seed % 6 == 0,
        )
        for seed in range(18)
    ]


def assert_same(found: ParallelTrace, wanted: ParallelTrace) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    for name in ALONE:
        assert getattr(found, name) == getattr(wanted, name), name
    np.testing.assert_allclose(found.log_probs, wanted.log_probs, atol=1e-10)
    np.testing.assert_allclose(found.raw_log_probs, wanted.raw_log_probs, atol=1e-10)


def forked(engine: Engine, seed: int) -> ParallelTrace:
    """A sample that ends while its branches run: they and it are looked at in one step."""
    request = Request(prompt=[seed, 1, 2], max_new_tokens=24, sampling=SamplingParams(seed=seed))
    handle = engine.submit(request)
    engine.step()
    first, second = handle.root.fork(2, [[3], [4, 5]])
    for _ in range(3):
        engine.step()
    first.stop()
    second.stop()
    handle.root.join(forced=[6])
    engine.step()
    handle.root.fork(3)
    return handle.result()[0]


@pytest.mark.parametrize("interrupted", [False, True])
def test_samples_that_end_together_leave_what_each_leaves_alone(interrupted: bool) -> None:
    engine = make_engine()
    handles = [engine.submit(request) for request in requests()]
    most = 0
    if interrupted:
        for _ in range(4):
            engine.step()
        for sample in list(engine.scheduler.samples.values())[::2]:
            assert engine.scheduler.preempt(sample)
    while not all(handle.done for handle in handles):
        before = engine.stats()["finished"]
        engine.step()
        most = max(most, engine.stats()["finished"] - before)
    assert most > 10
    assert (engine.stats()["preemptions"] > 5) == interrupted
    for handle in handles:
        alone = make_engine()
        wanted = alone.submit(handle.request).result()
        for trace, other in zip(handle.traces, wanted, strict=True):
            assert trace is not None
            assert_same(trace, other)
        if handle.request.keep:
            handle.release()
    assert engine.store.pool.used == 0


def test_a_forked_sample_ends_beside_plain_ones_as_it_does_alone() -> None:
    engine = make_engine()
    plain = [engine.submit(request) for request in requests()[1:6]]
    found = forked(engine, 3)
    assert found.n_forks == 2
    assert found.new_tokens == 24
    assert_same(found, forked(make_engine(), 3))
    for handle in plain:
        handle.result()
    assert engine.store.pool.used == 0


def test_what_still_runs_is_not_released() -> None:
    engine = make_engine()
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=NEW, n=2, keep=True))
    for _ in range(3):
        engine.step()
    engine.finish(handle.sample, "stop")
    with pytest.raises(EngineError, match="is aborted, not released"):
        handle.release()
    assert [trace.new_tokens for trace in handle.result()] == [3, NEW]
    handle.release()
    assert engine.store.pool.used == 0


def test_a_trace_is_not_changed_by_what_its_engine_does_later() -> None:
    """Of a plain sample it takes over the arrays; of one that may go on it has copies."""
    engine = make_engine()
    session = engine.open_session(sampling=SamplingParams(seed=1))
    traces = [
        engine.generate([Request(prompt=[1, 2, 3], max_new_tokens=NEW)])[0],
        session.send([4, 5], NEW).result()[0],
    ]
    before = [trace.ids.copy() for trace in traces]
    assert len(session.send([6], NEW).result()[0]) > len(traces[1])
    engine.generate(requests()[:4])
    for trace, ids in zip(traces, before, strict=True):
        np.testing.assert_array_equal(trace.ids, ids)


def test_what_a_trace_builds_on_demand_is_kept() -> None:
    trace = forked(make_engine(), 1)
    for name in ("positions", "forced", "drawn", "gs", "ps"):
        assert getattr(trace, name) is getattr(trace, name)
        assert getattr(trace, name).shape[-1] == len(trace)
    assert {field.name for field in fields(trace)}.isdisjoint({"positions", "gs", "ps"})


def test_what_a_plain_request_leaves_needs_no_garbage_collector() -> None:
    engine = make_engine()
    gc.collect()
    gc.disable()
    try:
        handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=NEW))
        sample, stretch = weakref.ref(handle.sample), handle.root._branch.stretch
        assert len(handle.result()[0]) == len(stretch.ids)
        assert len(handle.root.token_ids) == len(stretch.ids), "its branches can be looked at"
        del handle
        assert sample() is None
    finally:
        gc.enable()


def test_rows_are_emptied_together_as_one_by_one() -> None:
    tables = []
    for groups in ([[4, 1, 3]], [[4], [1], [3]]):
        table = RowTable(6, 8, 4, 100)
        for row in [table.take() for _ in range(6)]:
            table.active[row] = 1
            table.width[row] = row + 1
            table.fill[row, : row + 1] = 4
            table.seated.add(row)
        for rows in groups:
            table.empty(rows)
        tables.append(table)
    for name in ("active", "fill", "tenant", "width"):
        one, other = (getattr(table, name) for table in tables)
        np.testing.assert_array_equal(one, other, err_msg=name)
    for table in tables:
        assert not table.fill[[1, 3, 4]].any()
        assert (table.emptied, table.seated) == ({1, 3, 4}, {0, 2, 5})
        assert [table.take() for _ in range(3)] == [1, 3, 4]


def test_the_log_gives_each_row_what_it_drew_around_the_end_of_the_ring() -> None:
    log, g = StepLog(rows=5, steps=8), torch.Generator().manual_seed(0)
    written = []
    for step in range(21):
        ids = torch.randint(0, 1000, (5,), generator=g).numpy()
        log_probs, raw = torch.randn(2, 5, generator=g, dtype=torch.float64).numpy()
        rows = np.flatnonzero(np.arange(5) != step % 5)  # one row sits out
        log.write(rows, ids[rows], log_probs[rows], raw[rows], version=step // 4)
        written.append((ids, log_probs, raw))
    for row in range(5):
        for since in (14, 17, 20):
            steps = [step for step in range(since, 21) if step % 5 != row]
            drawn = log.read(row, since)
            kept = [step - since for step in steps]
            for found, place in zip(drawn[:3], range(3), strict=True):
                wanted = [written[step][place][row] for step in steps]
                np.testing.assert_array_equal(found[kept], wanted)
            np.testing.assert_array_equal(drawn.versions, [s // 4 for s in range(since, 21)])


def test_cycles_are_looked_for_again_after_a_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after one that failed; none is looked for while requests run."""
    engine = Engine(small_model(), EngineConfig(num_blocks=64))
    seen, step = [], engine.step
    monkeypatch.setattr(engine, "step", lambda: (seen.append(gc.isenabled()), step())[1])
    assert gc.isenabled()
    engine.generate([Request(prompt=[1, 2], max_new_tokens=3)])
    assert seen
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(RequestError):
        engine.generate([Request(prompt=[1_000], max_new_tokens=3)])
    assert gc.isenabled()


def test_steps_run_while_requests_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where they overlap with the host; the tokens are those of requests taken in at once."""
    model = small_model(torch.float32)
    many = [Request(prompt=[1 + i % 7, 2, 3], max_new_tokens=9, n=1 + i % 2) for i in range(12)]
    traces = []
    for overlap, chunk, begun in ((True, 6, 6), (True, 1_000, 0), (False, 6, 0)):
        config = EngineConfig(
            num_blocks=256, overlap=overlap, prefill_chunk=chunk, cuda_graph_buckets=()
        )
        engine = Engine(model, config)
        submit, steps = engine.submit, []
        monkeypatch.setattr(
            engine,
            "submit",
            lambda r, e=engine, s=submit, c=steps: (c.append(e._counts["steps"]), s(r))[1],
        )
        traces.append(engine.generate(many))
        assert steps[-1] == max(begun - 1, 0)
    for others in traces[1:]:
        for ours, wanted in zip(traces[0], others, strict=True):
            assert ours.ids.tolist() == wanted.ids.tolist()


def test_a_generation_that_fails_leaves_nothing_behind() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=64, prefix_cache=False))
    with pytest.raises(RequestError):
        engine.generate([Request(prompt=[p], max_new_tokens=3) for p in (1, 1_000)])
    stats = engine.stats()
    assert (stats["waiting"], stats["decoding"], stats["used_blocks"]) == (0, 0, 0)
    assert not engine.step()


def step_to_the_end(engine: Engine) -> None:
    while engine.step():
        pass


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("chunk", [8, 8192])
@pytest.mark.parametrize("number", [1, 2, 4, 9])
@pytest.mark.parametrize("place", ["launch", "launched", "read"])
def test_a_step_that_broke_off_leaves_nothing_wrong(
    place: str, number: int, chunk: int, overlap: bool
) -> None:
    """Neither for those that begin alike, nor for what runs on."""
    model = small_model(torch.float32)
    settings = EngineConfig(
        num_blocks=256, block_size=4, max_rows=6, prefill_chunk=chunk, overlap=overlap
    )
    wanted = Engine(model, EngineConfig(num_blocks=256, prefix_cache=False)).generate(requests())
    engine = Engine(model, settings)
    runner, calls = engine.runner, []
    assert runner.overlaps == overlap
    method = "read" if place == "read" else "launch"
    real = getattr(runner, method)

    def broken(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) != number:
            return real(*arguments)
        if place == "launched":
            real(*arguments)
        raise KeyboardInterrupt

    setattr(runner, method, broken)
    with pytest.raises(KeyboardInterrupt):
        engine.generate(requests())
    assert engine.store.pool.used == len(engine.store.cache.blocks)
    again = engine.generate(requests())
    calls.clear()
    handles = [engine.submit(request) for request in requests()]
    with pytest.raises(KeyboardInterrupt):
        step_to_the_end(engine)
    went_on = [trace for handle in handles for trace in handle.result()]
    for found in (again, went_on):
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.ids.tolist() == theirs.ids.tolist()
            np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
            np.testing.assert_array_equal(ours.versions, theirs.versions)
