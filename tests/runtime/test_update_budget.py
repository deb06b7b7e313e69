"""``stop.updates`` counts applied updates, whatever was skipped, in however many runs."""

from __future__ import annotations

import pytest
from toy_parts import ToyAgent
from toy_runs import train

SCHEDULES = [("serial", 0), ("lockstep", 2), ("lockstep", 3)]


@pytest.fixture
def nan_at(monkeypatch):
    """Make the loss of some of the calls NaN, counted from 1."""
    honest = ToyAgent.loss

    def plant(*calls: int) -> None:
        def sometimes_nan(self, network, batch):
            output = honest(self, network, batch)
            if self.calls in calls:
                output.loss = output.loss * float("nan")
            return output

        monkeypatch.setattr(ToyAgent, "loss", sometimes_nan)

    return plant


@pytest.mark.parametrize(("schedule", "lag"), SCHEDULES)
@pytest.mark.parametrize("calls", [(4, 9, 10), (12,), (11,), (10, 11, 13, 15)])
@pytest.mark.parametrize("actors", [1, 2])
def test_skipped_updates_neither_shorten_nor_lengthen_the_run(nan_at, schedule, lag, calls, actors):
    nan_at(*calls)
    outcome = train("inline", schedule, updates=12, lag=lag, actors=actors)
    assert outcome.error is None
    assert outcome.totals["updates"] == 12
    assert outcome.totals["skipped_updates"] == len(calls)
    assert outcome.checkpoint.state["streams"]
    assert len(outcome.of_kind("checkpoint")) == 1


def test_going_on_after_a_late_skip_repeats_the_straight_run(nan_at):
    nan_at(11, 12)
    straight = train("inline", "lockstep", updates=20, lag=2)
    first = train("inline", "lockstep", updates=12, lag=2)
    nan_at()
    again = train(
        "inline",
        "lockstep",
        updates=20,
        lag=2,
        run_dir=first.run_dir,
        resume=first.result["saved"],
        epoch=1,
    )
    assert again.totals["updates"] == 20
    assert again.parameters == straight.parameters


def test_a_resume_near_the_limit_stops_at_it(nan_at):
    nan_at(3)
    first = train("inline", "lockstep", updates=10, lag=2)
    again = train(
        "inline",
        "lockstep",
        updates=11,
        lag=2,
        run_dir=first.run_dir,
        resume=first.result["saved"],
        epoch=1,
    )
    assert again.error is None
    assert again.totals["updates"] == 11


@pytest.mark.parametrize("schedule", ["serial", "lockstep", "async", "hogwild"])
@pytest.mark.parametrize(
    ("placement", "stop"),
    [("inline", {"updates": 6}), ("inline", {"env_steps": 600}), ("local", {"env_steps": 600})],
)
def test_a_finished_run_is_not_trained_on(placement, schedule, stop):
    first = train(placement, schedule, stop=stop)
    again = train(
        placement, schedule, stop=stop, run_dir=first.run_dir, resume=first.result["saved"], epoch=1
    )
    assert again.error is None
    assert again.totals["updates"] == first.totals["updates"]
    assert again.parameters == first.parameters
    assert again.result["reason"] == first.result["reason"]
    assert again.result["saved"]


@pytest.mark.parametrize("schedule", ["serial", "async"])
def test_a_stop_for_nonfinite_updates_does_not_haunt_the_resume(schedule):
    first = train("inline", schedule, updates=50, config={"poison": 5}, checkpoint_every_s=None)
    assert "5 updates in a row" in str(first.error)
    again = train(
        "inline",
        schedule,
        updates=12,
        run_dir=first.run_dir,
        resume=str(first.checkpoint.path),
        epoch=1,
    )
    assert again.error is None
    assert again.totals["updates"] == 12


@pytest.mark.parametrize("schedule", ["serial", "hogwild"])
def test_annealing_goes_on_where_the_run_was(schedule, monkeypatch):
    from rlcore.learners.composed import ComposedLearner

    progress, update = [], ComposedLearner.update

    def watched(self, *args, **kwargs):
        progress.append(self.progress)
        return update(self, *args, **kwargs)

    monkeypatch.setattr(ComposedLearner, "update", watched)
    first = train("inline", schedule, updates=8)
    assert progress == [i / 8 for i in range(8)]
    progress.clear()
    resumed = {"run_dir": first.run_dir, "resume": first.result["saved"], "epoch": 1}
    assert train("inline", schedule, updates=20, **resumed).error is None
    assert progress == [i / 20 for i in range(8, 20)]


def test_the_delay_of_an_update_is_its_lag_after_skips_too(nan_at, monkeypatch):
    from rlcore.learners.composed import ComposedLearner

    delays, update = [], ComposedLearner.update

    def watched(self, *args, **kwargs):
        report = update(self, *args, **kwargs)
        delays.append(int(report.delay))
        return report

    monkeypatch.setattr(ComposedLearner, "update", watched)
    nan_at(4, 5, 8)
    train("inline", "serial", updates=8)
    assert set(delays) == {0}
    delays.clear()
    train("inline", "lockstep", updates=8, lag=2)
    assert delays[:3] == [0, 1, 2]
    assert set(delays[2:]) == {2}
