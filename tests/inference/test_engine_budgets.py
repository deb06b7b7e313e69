"""Limits of tokens, paths, blocks and rows; stop tokens and sequences; wrong requests."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.branches import State
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


def test_a_stop_token_counts_as_long_as_one_request_watches_it() -> None:
    engine = make()
    script = dict(enumerate([1, 2, 6, 6, 9, 3, 3, 3], start=2))
    ScriptedRunner(engine, VOCAB, {(0,): script}, overlaps=False)
    short, long = (
        engine.submit(Request(prompt=[3, 7], max_new_tokens=new, stop_ids=[9])) for new in (2, 8)
    )
    assert short.result()[0].finish_reason == "length"
    assert long.result()[0].new_ids.tolist() == [1, 2, 6, 6, 9]
    after = engine.submit(Request(prompt=[3, 7], max_new_tokens=8))
    assert after.result()[0].new_tokens == 8


def test_a_dropped_child_is_in_no_trace() -> None:
    engine = make()
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=50))
    children = handle.root.fork(3, [[4, 4, 4], [5] * 9, [7]])
    for _ in range(3):
        engine.step()
    children[1].drop()
    handle.abort()
    trace = handle.traces[0]
    (fork,) = trace.tree.forks
    assert [child.path for child in fork.children] == [(0, 0), (0, 2)]
    assert not fork.joined
    assert trace.ids[trace.forced].tolist() == [4, 4, 4, 7]
    # The path is that of the longest child, which is not the last one.
    assert trace.critical_path_steps == trace.positions.max() + 1 - 3 > trace.positions[-1] + 1 - 3
    assert check_trace(trace, 0, VOCAB) == trace.drawn.sum() > 3


def test_a_dropped_root_ends_its_request_as_dropped() -> None:
    engine = make()
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=50, keep=True))
    for _ in range(3):
        engine.step()
    handle.root.drop()
    assert handle.done
    assert handle.result()[0].finish_reason == "dropped"
    check_counts(engine)


def test_given_tokens_want_room_beside_the_budget() -> None:
    engine = make(10, prefix_cache=False)  # 40 slots
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=9))
    for _ in range(3):
        engine.step()
    handle.root.stop()
    with pytest.raises(RequestTooLargeError, match="can come to need 11 blocks"):
        handle.root.extend([1] * 29)
    handle.root.extend([1] * 28)
    assert len(handle.result()[0]) == 3 + 9 + 28
    check_counts(engine)


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


def test_tokens_of_branches_come_with_their_path_and_who_chose_them() -> None:
    engine = make()
    handle = engine.submit(Request(prompt=[1, 2], max_new_tokens=30))
    engine.step()
    handle.root.fork(2, [[4, 5], []])
    engine.step()
    told = {}
    for token in handle.new_tokens():
        told.setdefault(token.path, []).append((token.position, token.forced))
    assert told == {
        (0,): [(2, False)],
        (0, 0): [(3, True), (4, True), (5, False)],
        (0, 1): [(3, False)],
    }
    handle.abort()


def test_wrong_requests_are_refused_by_name() -> None:
    engine = make()
    for wrong, match in (
        ({"prompt": []}, "at least one token"),
        ({"prompt": [1], "max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
        ({"prompt": [1], "n": 0}, "n must be an integer >= 1, got 0"),
        ({"prompt": [1], "max_path_tokens": 0}, "max_path_tokens"),
        ({"prompt": [1], "n": 1 << 17}, "n must be at most 65536, got 131072"),
        ({"prompt": [1], "stop_sequences": [[]]}, "empty"),
        ({"prompt": [1, 99]}, r"prompt\[1\] is 99, wanted a token id in 0..31"),
        ({"prompt": [1], "stop_ids": [-1]}, r"stop_ids\[0\] is -1"),
        ({"prompt": [1], "stop_sequences": [[1], [2, 40]]}, r"stop_sequences\[1\]\[1\] is 40"),
        ({"prompt": "12"}, "prompt wants integer token ids, got '1'"),
        ({"prompt": [1, 2.0]}, "prompt wants integer token ids"),
        ({"prompt": [[1, 2]]}, "prompt wants integer token ids"),
        ({"prompt": None}, "at least one token"),
        ({"prompt": [1], "stop_ids": ["a"]}, "stop_ids wants integer token ids, got 'a'"),
        ({"prompt": [1], "max_new_tokens": 2.5}, "max_new_tokens must be an integer >= 1, got 2.5"),
        ({"prompt": [1], "n": "2"}, "n must be an integer >= 1, got '2'"),
        (
            {"prompt": [1], "max_path_tokens": 1.5},
            "max_path_tokens must be an integer >= 1 or null",
        ),
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
    assert EngineConfig(cuda_graph_buckets=(8, 1, 4)).cuda_graph_buckets == (1, 4, 8)
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


def test_prompts_may_be_arrays() -> None:
    engine = make()
    wanted = engine.generate([Request(prompt=[3, 1, 4], max_new_tokens=5)])[0].ids.tolist()
    for prompt in (np.array([3, 1, 4]), torch.tensor([3, 1, 4]), (3, np.int32(1), 4)):
        found = engine.generate([Request(prompt=prompt, max_new_tokens=np.int64(5))])[0]
        assert found.ids.tolist() == wanted


def test_tokens_outside_the_vocabulary_are_refused_before_they_reach_a_step() -> None:
    engine = make()
    other = engine.submit(Request(prompt=[4], max_new_tokens=9))
    handle = engine.submit(Request(prompt=[1, 2], max_new_tokens=40))
    for wrong in (VOCAB, -1):
        with pytest.raises(RequestError, match=rf"forced\[1\]\[0\] is {wrong}, wanted .* 0..31"):
            handle.root.fork(2, [[1], [wrong]])
    (child,) = handle.root.fork(1, [[1]])
    child.stop()
    with pytest.raises(RequestError, match=r"forced\[1\] is 32, wanted a token id in 0..31"):
        handle.root.join(forced=[1, VOCAB])
    with pytest.raises(RequestError, match=r"ids wants integer token ids, got 1\.5"):
        child.extend([1.5])
    handle.root.join(forced=[1])
    assert [h.result()[0].finish_reason for h in (handle, other)] == ["length", "length"]
    check_counts(engine)


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


def test_a_dropped_branch_with_an_open_fork_stays_dropped() -> None:
    engine = make(prefix_cache=False)
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=40))
    engine.step()
    child, _ = handle.root.fork(2)
    engine.step()
    child.fork(2)
    child.drop()
    for forced in ([], [1]):
        with pytest.raises(BranchError, match=r"\(0, 0\) has ended: dropped"):
            child.join(forced=forced)
    engine.step()
    assert not child.running
    handle.abort()
    check_counts(engine)
    assert engine.store.pool.used == 0


@pytest.mark.parametrize("overlaps", [False, True])
def test_what_waits_runs_on_when_a_step_that_was_short_of_blocks_has_ended_the_rest(
    overlaps: bool,
) -> None:
    engine = make(blocks=14, overlaps=overlaps, max_rows=2)
    requests = [Request(prompt=[k] * k, max_new_tokens=20) for k in (14, 21, 12, 29, 27)]
    handles = [engine.submit(request) for request in requests]
    while engine.step():
        pass
    assert [handle.done for handle in handles] == [True] * 5
    assert [handle.result()[0].new_tokens for handle in handles] == [20] * 5
    check_counts(engine)


def test_no_branch_waits_on_when_all_that_got_rows_have_ended_at_once() -> None:
    """Two of three branches at the end of their path get rows, and no step is left to launch."""
    engine = make(overlaps=True, max_rows=2)
    handle = engine.submit(Request(prompt=[1, 2], max_new_tokens=40, max_path_tokens=3, keep=True))
    child, _ = handle.root.fork(2)
    while engine.step():
        pass
    assert not child.running
    leaves = child.fork(3)
    while engine.step():
        pass
    assert [leaf._branch.state for leaf in leaves] == [State.HELD] * 3
