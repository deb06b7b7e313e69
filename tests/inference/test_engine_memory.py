"""Who runs, who waits and who gives up blocks where they are short."""

from __future__ import annotations

import pytest

from rlcore.inference.branches import State
from rlcore.inference.errors import RequestTooLargeError
from rlcore.inference.request import Request
from tests.inference.arithmetic_model import check_counts, check_trace
from tests.inference.test_engine_budgets import VOCAB, make


@pytest.mark.parametrize("overlaps", [False, True])
def test_tokens_that_were_drawn_for_ended_branches_are_not_counted(overlaps: bool) -> None:
    """A row that is read late may belong to another branch by then."""
    engine = make(overlaps=overlaps, max_rows=2)
    requests = [Request(prompt=[i, 1], max_new_tokens=3 + i, stop_ids=[4, 5, 6]) for i in range(9)]
    traces = engine.generate(requests)
    assert engine.stats()["tokens"] == sum(int(trace.drawn.sum()) for trace in traces)


@pytest.mark.parametrize("cache", [False, True])
def test_what_two_idle_samples_share_makes_room(cache: bool) -> None:
    """Neither sample alone can give up the blocks of their prompt."""
    engine = make(10, prefix_cache=cache)
    kept = engine.submit(Request(prompt=[1] * 16, max_new_tokens=4, n=2, keep=True))
    kept.result()
    assert engine.store.pool.used == 4 + 2
    big = engine.generate([Request(prompt=[2] * 20, max_new_tokens=20)])[0]
    assert check_trace(big, 0, VOCAB) == 20
    kept.release()
    check_counts(engine)


def test_the_peak_counts_blocks_that_were_given_up_since() -> None:
    engine = make(40, prefix_cache=False)
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=40))
    for _ in range(4):
        engine.step()
    children = handle.root.fork(5)
    engine.step()
    engine.step()  # now each has a token of its own in the pool
    for child in children:
        child.drop()
    handle.root.join()
    engine.step()
    handle.abort()
    trace = handle.traces[0]
    assert len(trace) == 3 + 4 + 1
    assert trace.peak_blocks == 2 + 5  # of 7 tokens, and one a child


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_pool_with_room_for_one_running_branch_finishes_six(overlaps: bool) -> None:
    wanted = None
    for blocks, rows in ((60, 8), (17, 8), (17, 1)):
        engine = make(blocks, overlaps, max_rows=rows)
        handle = engine.submit(Request(prompt=[1, 2, 3, 4, 5], max_new_tokens=30))
        children = handle.root.fork(6, [[i, 7] for i in range(6)])
        while any(child.running and len(child.token_ids) < 4 for child in children):
            engine.step()
            for child in children:
                if len(child.token_ids) >= 4:
                    child.stop()
        ids = [child.token_ids[:4] for child in children]
        wanted = wanted or ids
        assert ids == wanted
        check_counts(engine)
    # Two samples that cannot be in the pool together both finish.
    engine = make(17, overlaps)
    requests = [Request(prompt=[i] * 20, max_new_tokens=40) for i in range(4)]
    for trace in engine.generate(requests):
        assert trace.new_tokens == 40
        assert check_trace(trace, 0, VOCAB) == 40
    assert engine.stats()["preemptions"] > 0


def test_the_oldest_request_is_served_first() -> None:
    engine = make(12, max_rows=2)
    order: list[int] = []
    handles = [engine.submit(Request(prompt=[i] * 8, max_new_tokens=24)) for i in range(5)]
    while not all(h.done for h in handles):
        engine.step()
        order += [i for i, h in enumerate(handles) if h.done and i not in order]
    assert order == [0, 1, 2, 3, 4]


def test_the_younger_of_two_rows_goes_back_where_one_block_is_left() -> None:
    engine = make(5)
    handles = [engine.submit(Request(prompt=[i] * 4, max_new_tokens=12)) for i in range(2)]
    states = [State.DECODE, State.DECODE]
    while State.QUEUED not in states:
        engine.step()
        states = [handle.root._branch.state for handle in handles]
    assert states == [State.DECODE, State.QUEUED]
    assert [handle.result()[0].new_tokens for handle in handles] == [12, 12]


def test_the_youngest_request_gives_its_blocks_to_the_oldest() -> None:
    engine = make(7, max_rows=3)
    requests = [Request(prompt=[i] * n, max_new_tokens=14) for i, n in enumerate((3, 1, 5))]
    traces = engine.generate(requests)
    assert [trace.preemptions for trace in traces] == [0, 0, 1]
    assert [check_trace(trace, 0, VOCAB) for trace in traces] == [14, 14, 14]


def test_a_request_waits_where_those_that_run_would_lack_their_next_block() -> None:
    engine = make(6)
    first = engine.submit(Request(prompt=[1] * 4, max_new_tokens=12))
    engine.step()
    engine.step()
    second = engine.submit(Request(prompt=[2] * 16, max_new_tokens=4))
    assert engine.store.pool.free == 4  # as many as its prompt takes
    while not first.done:
        engine.step()
        assert engine.stats()["decoding"] <= 1
    assert second.root.token_ids == [2] * 16
    assert second.result()[0].new_tokens == 4
    assert engine.stats()["preemptions"] == 0


def test_children_inherit_the_arrival_of_their_request() -> None:
    engine = make(max_rows=1)
    first = engine.submit(Request(prompt=[1], max_new_tokens=12, keep=True))
    engine.step()
    second = engine.submit(Request(prompt=[2], max_new_tokens=3))
    children = first.root.fork(2)
    for _ in range(3):
        engine.step()
    children[0].stop()
    for _ in range(3):
        engine.step()
    assert len(children[1].token_ids) == 3
    assert not second.done


@pytest.mark.parametrize(
    ("prompt", "new", "fits"), [(20, 20, True), (20, 21, False), (1, 39, True), (40, 1, False)]
)
def test_what_can_never_fit_is_refused_when_submitted(prompt: int, new: int, fits: bool) -> None:
    engine = make(10)
    request = Request(prompt=[1] * prompt, max_new_tokens=new)
    if fits:
        assert engine.generate([request])[0].new_tokens == new
        return
    with pytest.raises(RequestTooLargeError, match="11 blocks of 4 slots; the pool has 10"):
        engine.submit(request)
    check_counts(engine)
    assert engine.stats()["requests"] == 0


def test_a_fork_that_could_not_fit_is_refused_and_changes_nothing() -> None:
    engine = make(10)
    handle = engine.submit(Request(prompt=[1] * 20, max_new_tokens=18))
    engine.step()
    with pytest.raises(RequestTooLargeError):
        handle.root.fork(3)
    assert handle.result()[0].new_tokens == 18


@pytest.mark.parametrize("overlaps", [False, True])
def test_an_aborted_request_gives_back_its_blocks(overlaps: bool) -> None:
    engine = make(overlaps=overlaps, prefix_cache=False)
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=50, n=2))
    other = engine.submit(Request(prompt=[4], max_new_tokens=20))
    for _ in range(4):
        engine.step()
    handle.roots[0].fork(3)
    engine.step()
    handle.abort()
    assert [t.finish_reason for t in handle.traces] == ["aborted", "aborted"]
    assert handle.traces[1].new_tokens >= 4
    check_counts(engine)
    assert other.result()[0].new_tokens == 20
    assert engine.store.pool.used == 0
    handle.abort()  # again: nothing happens
