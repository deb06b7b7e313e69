"""Batches in which no row is a transition: all environments were being reset at once."""

from __future__ import annotations

import pytest
from toy_runs import train

UNROLL_1 = {"unroll": 1, "envs": 1}


@pytest.mark.parametrize("placement", ["inline", "local"])
@pytest.mark.parametrize("schedule", ["serial", "lockstep", "async", "hogwild"])
def test_a_batch_without_a_transition_is_passed_over_and_counted(placement, schedule):
    # One CartPole with NEXT_STEP autoreset and fragments of one step: the row after an episode's
    # end is a fragment of its own in which nothing is valid.
    outcome = train(
        placement, schedule, updates=200, config=UNROLL_1, lag=1, envs=1, streams=1, batch=1
    )
    assert outcome.error is None
    totals = outcome.totals
    assert totals["empty_batches"] >= 3
    assert totals["skipped_updates"] == 0
    assert totals["updates"] >= 200
    assert outcome.records()[-1]["runtime/batches_empty"] == totals["empty_batches"]
    if schedule != "hogwild":
        assert outcome.checkpoint.state["version"] == totals["updates"] + totals["empty_batches"]
    assert totals["env_steps"] == totals["trained_steps"] + totals["dropped_steps"]
