"""Conversations compute only what is new in a turn."""

from __future__ import annotations

import numpy as np
import pytest

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.errors import EngineError, RequestError, RequestTooLargeError
from rlcore.inference.request import Request
from tests.inference.engine_cases import small_model, trace_gap


def test_a_turn_computes_its_own_tokens_only() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=300, block_size=4, prefix_cache=False))
    r = np.random.default_rng(0)
    turns, reply, answer = 20, 8, 6
    texts = [r.integers(0, 48, reply).tolist() for _ in range(turns)]
    with engine.open_session(sampling=SamplingParams(seed=3)) as session:
        for text in texts:
            trace = session.send(text, answer).result()[0]
            assert trace.ids[trace.turn_start :][:reply].tolist() == text
            assert trace.new_tokens % answer == 0
    ours = engine.stats()["prefill_tokens"]
    # Each turn computes its text and the answer's last token, which was never fed, less the last
    # token of the text, which is fed by the step that draws.
    assert ours == turns * reply - 1
    assert trace_gap(model, trace) <= 1e-12
    without = Engine(model, EngineConfig(num_blocks=300, block_size=4, prefix_cache=False))
    history: list[int] = []
    for text in texts:
        history += text
        history = without.generate([Request(prompt=history, max_new_tokens=answer)])[0].ids.tolist()
    assert without.stats()["prefill_tokens"] >= 5 * ours


def test_a_conversation_equals_one_flat_generation() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=100, block_size=4))
    params = SamplingParams(temperature=0.0)
    with engine.open_session(sampling=params) as session:
        first = session.send([1, 2, 3], 5).result()[0]
        second = session.send([4, 5], 7).result()[0]
    flat = Request(prompt=[*first.ids.tolist(), 4, 5], max_new_tokens=7, sampling=params)
    assert engine.generate([flat])[0].ids.tolist() == second.ids.tolist()
    assert second.turn_start == 8
    # What is given is no step of the turn's path, nor are the turns before.
    assert (first.critical_path_steps, second.critical_path_steps) == (5, 7)
    assert first.degree == second.degree == 1.0
    assert second.prompt_tokens == 3
    assert second.drawn.tolist() == [False] * 3 + [True] * 5 + [False] * 2 + [True] * 7


def test_an_idle_conversation_makes_room_and_comes_back() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=14, block_size=4))
    session = engine.open_session()
    session.send(list(range(20)), 5).result()
    big = engine.generate([Request(prompt=[9] * 30, max_new_tokens=20)])[0]
    assert big.finish_reason == "length"
    trace = session.send([1, 2], 5).result()[0]
    assert trace.preemptions == 1
    assert trace_gap(model, trace) <= 1e-12
    session.close()
    assert engine.store.pool.used == len(engine.store.cache.blocks)


def test_stop_tokens_end_a_turn() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=100))
    with engine.open_session(stop_ids=list(range(24)), sampling=SamplingParams(seed=1)) as session:
        first = session.send([1], 30).result()[0]
        assert first.finish_reason == "stop"
        assert first.ids[-1] < 24
        assert (first.ids[1:-1] >= 24).all()
        assert session.send([2], 30).result()[0].finish_reason == "stop"


def test_tokens_that_a_turn_did_not_use_do_not_count_in_the_next() -> None:
    """Two turns of up to 30 tokens in a pool of 40: the first ends with its first token."""
    engine = Engine(small_model(), EngineConfig(num_blocks=10, block_size=4))
    with engine.open_session(stop_ids=range(24), sampling=SamplingParams(seed=1)) as session:
        assert session.send([1], 30).result()[0].new_tokens < 8
        with pytest.raises(RequestTooLargeError):
            session.send([2], 40)
        assert session.send([2], 30).result()[0].finish_reason == "stop"


def test_wrong_turns_are_refused_and_change_nothing() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=10, block_size=4))
    session = engine.open_session()
    handle = session.send([1, 2], 4)
    with pytest.raises(EngineError, match="still runs"):
        session.send([3], 4)
    handle.result()
    with pytest.raises(RequestError, match=r"ids\[0\] is 99"):
        session.send([99], 4)
    with pytest.raises(RequestTooLargeError):
        session.send([1], 400)
    assert session.send([3], 4).result()[0].new_tokens == 8
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.send([1], 1)
    aborted = engine.open_session()
    aborted.send([1], 5).abort()
    with pytest.raises(EngineError, match="reopened"):
        aborted.send([1], 5)
    aborted.close()
    running = engine.open_session()
    running.send([1], 5)
    engine.step()
    running.close()
    assert engine.store.pool.used == len(engine.store.cache.blocks)
