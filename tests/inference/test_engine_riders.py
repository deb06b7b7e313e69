"""Known tokens that ride with a decode step: forks and joins need no pass of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.prefill_graphs import PrefillGraphs
from rlcore.inference.request import Request
from rlcore.inference.scheduler import MOST_RIDERS
from tests.inference.engine_cases import small_model

FORCED = [[1, 2, 3, 4, 5, 6], [7], [8, 9]]


def split_and_merged(engine: Engine, after: list[int]):
    """Fork three branches with given beginnings, and join them with given tokens."""
    request = Request(
        prompt=list(range(10)),
        max_new_tokens=80,
        keep=True,
        sampling=SamplingParams(temperature=0.0),
    )
    handle = engine.submit(request)
    for _ in range(5):
        engine.step()
    children = handle.root.fork(3, FORCED)
    for _ in range(7):
        engine.step()
    for child in children:
        child.stop()
    handle.root.join(forced=after)
    return handle.result()[0]


@pytest.mark.parametrize("after", [[11], [11, 12, 13, 14, 15, 16, 17]])
def test_forks_and_joins_need_no_pass_of_their_own(monkeypatch, after: list[int]) -> None:
    model, passes = small_model(torch.float32), []
    prefill = PrefillGraphs.run
    monkeypatch.setattr(
        PrefillGraphs, "run", lambda self, batch: (passes.append(batch), prefill(self, batch))
    )
    settings = {"num_blocks": 64, "block_size": 4, "max_rows": 16}
    riding = Engine(model, EngineConfig(overlap=True, **settings))
    assert riding.scheduler.rides
    found = split_and_merged(riding, after)
    assert passes == [], "even the prompt is short enough"
    apart = Engine(model, EngineConfig(overlap=True, **settings))
    apart.scheduler.rides = False
    wanted = split_and_merged(apart, after)
    assert len(passes) >= 3
    for name in ("ids", "positions", "forced", "gs", "ps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_allclose(found.raw_log_probs, wanted.raw_log_probs, atol=1e-5)
    assert riding.stats()["prefill_tokens"] == apart.stats()["prefill_tokens"]
    assert riding.scheduler.rows.free == 16


def test_many_known_tokens_have_a_pass(monkeypatch) -> None:
    passes = []
    prefill = PrefillGraphs.run
    monkeypatch.setattr(
        PrefillGraphs, "run", lambda self, batch: (passes.append(batch), prefill(self, batch))
    )
    model = small_model(torch.float32)
    for tokens, rows, wanted in ((MOST_RIDERS, 64, 0), (MOST_RIDERS + 1, 64, 1), (9, 8, 1)):
        engine = Engine(model, EngineConfig(num_blocks=64, max_rows=rows, overlap=True))
        # The last token of a prompt is fed by the row itself.
        engine.generate([Request(prompt=[3] * (tokens + 1), max_new_tokens=2)])
        assert len(passes) == wanted
        passes.clear()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_riders_of_a_step_that_broke_off_do_not_ride_on(monkeypatch, number: int) -> None:
    settings = {"num_blocks": 64, "block_size": 4, "max_rows": 16, "overlap": True}
    model = small_model(torch.float32)
    wanted = split_and_merged(Engine(model, EngineConfig(**settings)), [11, 12])
    engine = Engine(model, EngineConfig(**settings))
    launch, step, seen = engine.runner.launch, engine.step, []

    def break_off(*arguments: object) -> None:
        if engine.scheduler._riders:
            seen.append(list(engine.scheduler._riders))
            if len(seen) == number:
                raise OSError
        launch(*arguments)

    def go_on() -> bool:
        unread = engine._pending is not None
        try:
            return step()
        except OSError:
            assert not engine.scheduler.rows.active.any()
            return step() and (not unread or step())

    monkeypatch.setattr(engine.runner, "launch", break_off)
    monkeypatch.setattr(engine, "step", go_on)
    found = split_and_merged(engine, [11, 12])
    assert len(seen) >= number
    assert found.ids.tolist() == wanted.ids.tolist()
