"""Limits of tokens, paths, blocks and rows; stop tokens and sequences; wrong requests."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.errors import (
    BranchError,
    BudgetError,
    EngineError,
    RequestError,
    RequestTooLargeError,
)
from rlcore.inference.request import Request
from rlcore.inference.runner import KVPool
from rlcore.nn.transformer import Transformer, TransformerConfig
from tests.inference.arithmetic_model import (
    ArithmeticRunner,
    ScriptedRunner,
    check_counts,
    check_trace,
)

VOCAB = 32


def make(blocks: int = 40, overlaps: bool = False, **settings: object) -> Engine:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=VOCAB, dim=8, layers=1, heads=1))
    config = EngineConfig(**({"num_blocks": blocks, "block_size": 4, "max_rows": 8} | settings))
    engine = Engine(model, config)
    ArithmeticRunner(engine, VOCAB, overlaps)
    return engine


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("budget", [1, 2, 3, 7, 13, 29])
def test_branches_share_one_live_budget(budget: int, overlaps: bool) -> None:
    engine = make(overlaps=overlaps)
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=budget, keep=True))
    handle.root.fork(3)
    trace = handle.result()[0]
    assert trace.new_tokens == budget
    assert trace.finish_reason == "length"
    lengths = [c.stop - c.start for c in trace.tree.forks[0].children]
    assert sum(lengths) == budget
    assert max(lengths) - min(lengths) <= 1
    assert check_trace(trace, 0, VOCAB) == budget
    assert all(c.finish_reason == "length" for c in trace.tree.forks[0].children)


def test_a_path_limit_ends_a_branch_and_not_its_siblings() -> None:
    engine = make()
    request = Request(prompt=[1, 2], max_new_tokens=60, max_path_tokens=10, keep=True)
    handle = engine.submit(request)
    long, short = handle.root.fork(2, [[1] * 6, [2]])
    for _ in range(5):
        engine.step()
    assert long.finish_reason == "length"
    assert len(long.token_ids) == 10
    assert short.running
    for _ in range(5):
        engine.step()
    assert short.finish_reason == "length"
    assert len(short.token_ids) == 10
    with pytest.raises(BudgetError, match="path ends before"):
        handle.root.join(forced=[3])
    trace = handle.finish()[0]
    assert trace.critical_path_steps == 10
    assert trace.new_tokens == 20


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
def test_stop_tokens_and_sequences_end_at_the_first_match(overlaps: bool) -> None:
    for stops, sequences, wanted in (
        ([9], [], [1, 2, 9]),
        ([], [[2, 9]], [1, 2, 9]),
        ([], [[9, 9], [9, 4, 5]], [1, 2, 9, 4, 5]),
        ([], [[7, 1]], [1, 2, 9, 4, 5, 9, 9, 3]),  # 7 is the prompt's: it does not count
    ):
        engine = make()
        script = dict(enumerate([1, 2, 9, 4, 5, 9, 9, 3], start=2))
        ScriptedRunner(engine, VOCAB, {(0,): script}, overlaps)
        request = Request(prompt=[3, 7], max_new_tokens=8, stop_ids=stops, stop_sequences=sequences)
        trace = engine.generate([request])[0]
        assert trace.new_ids.tolist() == wanted
        assert trace.finish_reason == ("stop" if len(wanted) < 8 else "length")


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


def test_tokens_come_one_by_one() -> None:
    engine = make()
    handle = engine.submit(Request(prompt=[1, 2], max_new_tokens=9))
    told = []
    for token in handle.stream():
        told.append(token)
        assert token.id == handle.root.token_ids[token.position]
    trace = handle.result()[0]
    assert [t.id for t in told] == trace.new_ids.tolist()
    assert [t.position for t in told] == list(range(2, 11))
    assert not any(t.forced for t in told)
    assert handle.new_tokens() == []


def test_wrong_requests_are_refused_by_name() -> None:
    engine = make()
    for wrong, match in (
        ({"prompt": []}, "at least one token"),
        ({"prompt": [1], "max_new_tokens": 0}, "max_new_tokens of a request must be >= 1, got 0"),
        ({"prompt": [1], "n": 0}, "n of a request"),
        ({"prompt": [1], "max_path_tokens": 0}, "max_path_tokens"),
        ({"prompt": [1], "n": 1 << 17}, "n of a request must be at most 65536, got 131072"),
        ({"prompt": [1], "stop_sequences": [[]]}, "empty"),
        ({"prompt": [1, 99]}, r"prompt\[1\] is 99, wanted a token id in 0..31"),
        ({"prompt": [1], "stop_ids": [-1]}, r"stop_ids\[0\] is -1"),
        ({"prompt": [1], "stop_sequences": [[1], [2, 40]]}, r"stop_sequences\[1\]\[1\] is 40"),
    ):
        with pytest.raises(RequestError, match=match):
            engine.submit(Request(**({"max_new_tokens": 4} | wrong)))
    for wrong, match in (
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
    ):
        with pytest.raises(ConfigError, match=match):
            SamplingParams(**wrong)
    for wrong in ({"block_size": 0}, {"kv_fraction": 1.5}, {"num_blocks": 0}, {"max_rows": 0},
                  {"weight_update": "now"}, {"cuda_graph_buckets": (0, 1)}):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            EngineConfig(**wrong)
    model = Transformer(TransformerConfig(vocab_size=8, dim=8, layers=1, heads=1))
    with pytest.raises(ConfigError, match=r"num_blocks=1000000000000 takes .* wanted at most"):
        Engine(model, EngineConfig(num_blocks=10**12))
    model = Transformer(TransformerConfig(vocab_size=8, dim=8, layers=1, heads=1, causal=False))
    with pytest.raises(ConfigError, match="causal"):
        Engine(model)


def test_the_pool_takes_memory_only_where_it_is_written() -> None:
    shape = TransformerConfig(vocab_size=8, dim=64, layers=4, heads=2)
    before = resident()
    pool = KVPool(shape, 40_000, 16, torch.float32, torch.device("cpu"))
    assert pool.keys.nbytes + pool.values.nbytes > 1.3e9
    assert resident() - before < 5e7, "a pool that nothing was written to takes memory"
    pool.keys[2, 7] = 1.0
    assert float(pool.keys[2, 7].sum()) == 16 * 64
    assert float(pool.keys[2, 8].abs().max()) == float(pool.values[3, -1].abs().max()) == 0.0


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_wrong_forks_and_joins_are_refused_by_name() -> None:
    engine = make()
    handle = engine.submit(Request(prompt=[1, 2], max_new_tokens=40, keep=True))
    root = handle.root
    with pytest.raises(BranchError, match="no open fork"):
        root.join(forced=[1])
    with pytest.raises(BranchError, match="2 branches got 1 beginnings"):
        root.fork(2, [[1]])
    with pytest.raises(BudgetError, match="41 tokens are forced, the budget has 40 left"):
        root.fork(1, [[1] * 41])
    first, second = root.fork(2)
    with pytest.raises(BranchError, match="FORKED and cannot be forked"):
        root.fork(1)
    with pytest.raises(BranchError, match="child 0 is QUEUED"):
        root.join(forced=[1])
    with pytest.raises(BranchError, match="only a held one can be extended"):
        first.extend([1])
    with pytest.raises(EngineError, match="have stopped"):
        handle.finish()
    first.stop()
    second.stop()
    with pytest.raises(BranchError, match="at least one forced token"):
        root.join()
    for wrong in ([0, 0], [2], [-1]):
        with pytest.raises(BranchError, match="each of"):
            root.join(wrong, [1])
    with pytest.raises(EngineError, match="nothing is left to run"):
        handle.result()
    second.drop()
    with pytest.raises(BranchError, match=r"each of \[0\]"):
        root.join([1], [1])
    root.join(forced=[4])
    trace = handle.result()[0]
    assert trace.finish_reason == "length"
    with pytest.raises(BranchError, match="has ended: length"):
        root.fork(1)
    again = handle.reopen(5)
    again.root.extend([3])
    assert again.result()[0].new_tokens == trace.new_tokens + 5
    again.release()
    check_counts(engine)


def test_a_fork_without_a_join_is_undone_by_joining_nothing() -> None:
    engine = make()
    plain = engine.generate([Request(prompt=[1, 2, 3], max_new_tokens=12)])[0]
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=40))
    for _ in range(4):
        engine.step()
    children = handle.root.fork(3)
    for _ in range(3):
        engine.step()
    for child in children:
        child.drop()
    handle.root.join()
    ids = handle.result()[0].new_ids.tolist()
    assert ids[:12] == plain.new_ids.tolist()
    check_counts(engine)
