"""``stop.updates`` counts applied updates, whatever was skipped on the way."""

from __future__ import annotations

import pytest
from toy_runs import train


@pytest.mark.parametrize(("schedule", "lag"), [("serial", 0), ("lockstep", 2)])
def test_skipped_updates_do_not_end_the_run_early(monkeypatch, schedule, lag):
    import toy_parts

    honest = toy_parts.ToyAgent.loss

    def sometimes_nan(self, network, batch):
        output = honest(self, network, batch)
        if self.calls in (4, 9, 10):
            output.loss = output.loss * float("nan")
        return output

    monkeypatch.setattr(toy_parts.ToyAgent, "loss", sometimes_nan)
    outcome = train("inline", schedule, updates=12, lag=lag)
    assert outcome.error is None
    assert outcome.totals["updates"] == 12
    assert outcome.totals["skipped_updates"] == 3
    assert outcome.checkpoint.state["streams"]
