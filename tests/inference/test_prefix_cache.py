"""What is found in the cache, and what must not be."""

from __future__ import annotations

from rlcore.inference.branches import GIVEN, Stretch, most_blocks
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.kv_store import KVStore
from rlcore.inference.request import Request
from rlcore.inference.trace import ParallelTrace
from tests.inference.engine_cases import small_model, trace_gap

GREEDY = SamplingParams(temperature=0.0)


def engine(**settings: object) -> Engine:
    return Engine(small_model(), EngineConfig(**({"num_blocks": 200, "block_size": 4} | settings)))


def joined_trace(served: Engine) -> ParallelTrace:
    handle = served.submit(Request(prompt=[1, 2, 3, 4, 5, 6, 7, 8], max_new_tokens=30))
    children = handle.root.fork(3, [[11, 12], [13], [14, 15, 16]])
    for _ in range(5):
        served.step()
    for child in children:
        child.stop()
    handle.root.join(forced=[17])
    return handle.result()[0]


def test_the_same_prompt_twice_computes_nothing_the_second_time() -> None:
    served = engine()
    for length in (1, 2, 4, 5, 8, 9, 19):
        request = Request(prompt=[length, *range(length - 1)], max_new_tokens=6, sampling=GREEDY)
        first, second = served.generate([request])[0], served.generate([request])[0]
        assert first.prefill_tokens == length - 1
        assert second.prefill_tokens == 0
        assert first.ids.tolist() == second.ids.tolist()
        assert trace_gap(served.model, second) <= 1e-12


def test_a_shared_beginning_is_computed_once() -> None:
    served = engine()
    common = list(range(16))
    traces = [
        served.generate([Request(prompt=[*common, i, i + 1, 3], max_new_tokens=4)])[0]
        for i in (20, 30, 40)
    ]
    assert [trace.prefill_tokens for trace in traces] == [18, 2, 2]


def test_samples_share_their_prompt() -> None:
    served = engine(prefix_cache=False)
    request = Request(prompt=list(range(18)), max_new_tokens=8, n=4)
    served.submit(request)
    served.step()
    # 5 blocks of the prompt, one a sample; the last of the prompt is not full.
    assert served.stats()["prefill_tokens"] == 18
    assert served.store.pool.used == 5 + 4


def test_a_generated_text_is_found_by_the_next_turn_of_a_chat() -> None:
    served = engine()
    first = served.generate([Request(prompt=[1, 2, 3], max_new_tokens=17, sampling=GREEDY)])[0]
    again = served.generate([Request(prompt=[*first.ids.tolist(), 4, 5], max_new_tokens=3)])[0]
    assert again.prefill_tokens == 21 - 16  # 22 known tokens, the last is fed; 16 in full blocks
    without = engine(cache_generated=False)
    first = without.generate([Request(prompt=[1, 2, 3], max_new_tokens=17, sampling=GREEDY)])[0]
    again = without.generate([Request(prompt=[*first.ids.tolist(), 4, 5], max_new_tokens=3)])[0]
    assert again.prefill_tokens == 21


def test_a_sequence_does_not_use_the_blocks_of_branches() -> None:
    served = engine(block_size=1)  # every token is a block: any false match would be found
    trace = joined_trace(served)
    branches = trace.tree.forks[0]
    flat = Request(prompt=trace.ids.tolist(), max_new_tokens=5)
    second = served.generate([flat])[0]
    # The first child is a sequence after the prompt; from the second child on nothing matches.
    assert second.prefill_tokens >= len(trace) - 1 - branches.children[1].start
    assert trace_gap(served.model, second) <= 1e-12


def test_the_same_structure_twice_computes_nothing_the_second_time() -> None:
    served = engine()
    trace = joined_trace(served)
    request = Request(prompt=trace, max_new_tokens=7)
    first, second = served.generate([request])[0], served.generate([request])[0]
    assert second.prefill_tokens == 0
    for again in (first, second):
        assert again.ids[: len(trace)].tolist() == trace.ids.tolist()
        assert again.positions[: len(trace)].tolist() == trace.positions.tolist()
        assert (again.gs[:, : len(trace)] == trace.gs).all()
        assert again.prompt_tokens == len(trace)
        assert again.new_tokens == 7
        assert trace_gap(served.model, again) <= 1e-12
    fresh = engine(prefix_cache=False).generate([request])[0]
    assert fresh.ids.tolist() == second.ids.tolist()
    assert fresh.prefill_tokens == len(trace) - 1
    # New children are numbered behind the trace's own: their noise is not used twice.
    handle = served.submit(request)
    (child,) = handle.root.fork(1)
    assert child.path == (0, 3)
    handle.abort()


def test_what_follows_a_join_is_found_only_behind_the_same_branches() -> None:
    """Two traces that differ in their first branch alone: its last one and the rest are equal."""
    served = engine()
    traces = []
    for token in (11, 12):
        handle = served.submit(Request(prompt=list(range(8)), max_new_tokens=40))
        children = handle.root.fork(2, [[token, 9], [13, 14]])
        for _ in range(5):
            served.step()
        for child in children:
            child.stop()
        handle.root.join(forced=[17, *range(20, 28)])
        served.step()
        served.scheduler.preempt(handle.sample)  # it looks for all of its blocks in the cache
        traces.append(handle.result()[0])
        assert traces[-1].preemptions == 1
        assert trace_gap(served.model, traces[-1]) <= 1e-12
    first, second = (trace.tree.forks[0].children for trace in traces)
    assert traces[0].ids[first[1].start : first[1].stop + 9].tolist() == (
        traces[1].ids[second[1].start : second[1].stop + 9].tolist()
    )
    for trace in (*traces, *traces):
        again = served.generate([Request(prompt=trace, max_new_tokens=3)])[0]
        assert trace_gap(served.model, again) <= 1e-12
    assert again.prefill_tokens == 0


def test_new_weights_make_old_blocks_unreachable() -> None:
    served = engine()
    request = Request(prompt=list(range(13)), max_new_tokens=4)
    served.generate([request])
    served.update_weights(served.model.state_dict(), 1, "recompute")
    assert served.generate([request])[0].prefill_tokens == 12


def test_a_request_that_needs_the_whole_pool_borrows_no_block_whose_rest_it_would_waste() -> None:
    """40 tokens in 10 blocks of 4: a cached block with one slot filled would be one too many."""
    served = engine(num_blocks=10)
    request = Request(prompt=[1, 2, 3, 4, 5, 6], max_new_tokens=34)
    first, second = served.generate([request])[0], served.generate([request])[0]
    assert first.peak_blocks == second.peak_blocks == 10
    assert (first.prefill_tokens, second.prefill_tokens) == (5, 1)
    assert first.ids.tolist() == second.ids.tolist()
    assert second.new_tokens == 34


def test_the_rest_of_a_borrowed_block_counts_in_what_a_request_can_come_to_need() -> None:
    """40 tokens fit into 10 blocks; behind a borrowed block with one slot filled they take 11."""
    served = engine()
    request = Request(prompt=[1, 2, 3, 4, 5, 6], max_new_tokens=34)
    assert served.generate([request])[0].peak_blocks == 10
    handle = served.submit(request)
    assert most_blocks(handle.sample, 4) == 10
    served.step()
    assert most_blocks(handle.sample, 4) == 11
    assert handle.result()[0].peak_blocks == 11


def test_what_was_borrowed_once_is_filled_from_the_first_slot_when_it_is_cold_again() -> None:
    store = KVStore(8, EngineConfig(block_size=4))
    first, second = (Stretch(i, (), (), 0) for i in range(2))
    for stretch in (first, second):
        stretch.extend(range(9), GIVEN, 0)
    store.borrow(first)
    store.supply(first, store.shortage(first, 8))
    store.fill(first, 8)
    store.remember(first)
    store.borrow(second)
    assert (second.blocks, second.borrowed, second.computed) == (first.blocks, 2, 8)
    assert store.shortage(second, 0) == 0
    store.cool([second])
    assert second.room(4) == 0
    assert store.shortage(second, 8) == 2
    store.supply(second, 2)
    assert store.fill(second, 8) == [(block, 0, 4) for block in second.blocks]
    assert second.computed == 8


def test_blocks_of_the_cache_are_given_up_for_new_requests() -> None:
    served = engine(num_blocks=12)
    for i in range(8):
        trace = served.generate([Request(prompt=[i] * 20, max_new_tokens=20)])[0]
        assert trace.finish_reason == "length"
        assert trace.preemptions == 0
    assert served.stats()["cache_evictions"] > 0
    assert served.store.pool.used == len(served.store.cache.blocks)
