"""Promise D5: a slow learner blocks its actors; memory stays bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_runs import STREAMS, train

from rlcore.runtime.supervisor import resident_mb

SLACK_MB = 8.0


@pytest.mark.parametrize(("schedule", "slots"), [("async", 3), ("lockstep", 2)])
def test_actors_wait_for_a_slow_learner(schedule: str, slots: int) -> None:
    ahead, memory = [], []

    def watch(run: Any, messages: list[dict[str, Any]]) -> None:
        ring = run.channels.ring
        ahead.append(int((ring.written - ring.consumed).max()))
        if sum(m["kind"] == "metrics" for m in messages) > 2:
            memory.append([resident_mb(seat.child.pid) for seat in run.seats])

    outcome = train(
        "local",
        schedule,
        actors=2,
        lag=1,
        max_lag=8,
        updates=None,
        stop={"seconds": 2.5},
        config={"slow_s": 0.1},
        watch=watch,
    )
    assert outcome.error is None
    assert max(ahead) <= slots
    assert outcome.totals["dropped_steps"] == 0
    # Past the start, actors do little else than wait.
    blocked = [record["runtime/actor_blocked_frac"] for record in outcome.records()]
    assert float(np.median(blocked[1:])) > 0.5
    growth = np.array(memory[-1]) - np.array(memory[0])
    assert growth.max() < SLACK_MB
    assert outcome.totals["updates"] < 60
    assert STREAMS >= len(memory[0]) == 2
