"""New weights while requests run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.errors import WeightUpdateError
from rlcore.inference.request import Request
from tests.inference.engine_cases import small_model, trace_gap

GREEDY = SamplingParams(temperature=0.0)


def new_weights(seed: int = 1) -> dict[str, Tensor]:
    return small_model(seed=seed).state_dict()


def forked(engine: Engine) -> tuple:
    request = Request(prompt=[1, 2, 3, 4, 5, 6], max_new_tokens=60, sampling=SamplingParams(seed=2))
    handle = engine.submit(request)
    for _ in range(4):
        engine.step()
    children = handle.root.fork(3, [[1, 2], [3], [4]])
    for _ in range(3):
        engine.step()
    return handle, children


@pytest.mark.parametrize("overlap", [False, True])
def test_recompute_goes_on_as_a_fresh_prefill_with_the_new_weights(overlap: bool) -> None:
    dtype = torch.float32 if overlap else torch.float64
    model = small_model(dtype)
    engine = Engine(model, EngineConfig(num_blocks=200, block_size=4, overlap=overlap))
    handle, children = forked(engine)
    children[2].stop()
    state = {name: value.to(dtype) for name, value in new_weights().items()}
    engine.update_weights(state, 5, "recompute")
    assert engine.version == 5
    for _ in range(4):
        engine.step()
    for child in children:
        child.stop()
    handle.root.join([1, 0, 2], [9])
    trace = handle.result()[0]
    new = trace.versions == 5
    assert (new & trace.drawn).sum() > 10
    assert (trace.drawn & ~new).sum() > 5
    assert trace_gap(model, trace, select=new) <= (1e-4 if overlap else 1e-12)
    old = small_model(dtype)
    assert trace_gap(old, trace, select=~new) <= (1e-4 if overlap else 1e-12)
    for span in trace.tree.walk():
        own = trace.versions[span.start : span.stop][trace.drawn[span.start : span.stop]]
        path = [v for v in own.tolist()]
        if not span.forks:
            assert path == sorted(path)


def test_keep_kv_draws_from_new_weights_on_old_keys() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=100, block_size=4))
    handle = engine.submit(Request(prompt=[1, 2, 3, 4, 5, 6, 7, 8, 9], max_new_tokens=30))
    for _ in range(6):
        engine.step()
    before = engine.stats()["prefill_tokens"]
    engine.update_weights(new_weights(), 1, "keep_kv")
    trace = handle.result()[0]
    assert engine.stats()["prefill_tokens"] == before
    new = trace.versions == 1
    assert trace_gap(small_model(), trace, select=~new) <= 1e-12
    assert trace_gap(model, trace, select=new) > 1e-3  # the keys are the old weights'
    # Nothing of the mixture may be found by a later request, nor take up room.
    assert engine.stats()["cached_blocks"] == 0
    flat = Request(prompt=trace.ids.tolist(), max_new_tokens=5)
    again = engine.generate([flat])[0]
    assert again.prefill_tokens == len(trace) - 1
    assert trace_gap(model, again) <= 1e-12


def test_equal_tokens_of_other_mixtures_have_other_keys() -> None:
    """Two requests alike, one prompt computed with the old weights and one with the new."""
    model = small_model()
    config = EngineConfig(num_blocks=200, block_size=4, prefill_chunk=12, max_rows=2)
    engine = Engine(model, config)
    request = Request(prompt=list(range(13)), max_new_tokens=90, sampling=GREEDY, keep=True)
    handles = [engine.submit(request) for _ in range(2)]
    engine.submit(Request(prompt=[40], max_new_tokens=200))  # takes one of the two rows
    engine.step()
    assert engine.stats()["prefill_tokens"] == 12
    nudged = {name: value * (1 + 1e-4) for name, value in model.state_dict().items()}
    engine.update_weights(nudged, 1, "keep_kv")
    for handle in handles:
        while len(handle.root.token_ids) < 16:
            engine.step()
        handle.root.stop()
        handles[0].root.stop()
    assert handles[0].root.token_ids == handles[1].root.token_ids
    computed = []
    for handle in handles:
        # The second child starts when all of what it sees is computed.
        first, second = handle.root.fork(2, [[20], list(range(20, 29))])
        engine.step()
        first.stop()
        before = engine.stats()["prefill_tokens"]
        engine.step()
        computed.append(engine.stats()["prefill_tokens"] - before)
        second.stop()
    # The second request's keys are those of another mixture: it must not take the first one's.
    assert computed == [8, 8]


def test_drain_finishes_what_runs_and_lets_the_rest_wait() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=100, block_size=4, max_rows=2))
    lengths = (12, 7, 12, 12)  # a row is free before the last of those that run has ended
    handles = [
        engine.submit(Request(prompt=[i, 2], max_new_tokens=new)) for i, new in enumerate(lengths)
    ]
    for _ in range(3):
        engine.step()
    engine.update_weights(new_weights(), 1, "drain")
    assert [h.done for h in handles] == [True, True, False, False]
    versions = [set(h.result()[0].versions[2:].tolist()) for h in handles]
    assert versions == [{0}, {0}, {1}, {1}]
    assert trace_gap(model, handles[3].result()[0]) <= 1e-12


def test_a_session_goes_on_with_the_new_weights() -> None:
    model = small_model()
    engine = Engine(model, EngineConfig(num_blocks=100, block_size=4))
    with engine.open_session() as session:
        session.send([1, 2, 3], 6).result()
        engine.update_weights(new_weights(), 1)
        trace = session.send([4, 5], 6).result()[0]
    new = trace.versions == 1
    assert (new & trace.drawn).sum() == 6
    assert trace_gap(model, trace, select=new) <= 1e-12


def test_weights_that_do_not_fit_are_refused_and_change_nothing() -> None:
    engine = Engine(small_model(), EngineConfig(num_blocks=20))
    state = new_weights()
    before = {k: v.clone() for k, v in engine.model.state_dict().items()}
    with pytest.raises(WeightUpdateError, match="version 0 is not newer than the present one, 0"):
        engine.update_weights(state, 0)
    with pytest.raises(WeightUpdateError, match="missing"):
        engine.update_weights({k: v for k, v in state.items() if k != "norm.weight"}, 1)
    with pytest.raises(WeightUpdateError, match=r"norm\.weight has shape"):
        engine.update_weights(state | {"norm.weight": torch.ones(3)}, 1)
    with pytest.raises(ConfigError, match="mode must be"):
        engine.update_weights(state, 1, "later")
    assert engine.version == 0
    assert all(torch.equal(v, before[k]) for k, v in engine.model.state_dict().items())
