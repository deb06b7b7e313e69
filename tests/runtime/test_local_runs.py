"""Local runs: lag accounting, stopping, non-finite losses, and nothing left behind."""

from __future__ import annotations

import os

import pytest
import toy_parts
from toy_runs import STREAMS, children_of, make_plan, train

from rlcore.errors import (
    ActorLostError,
    ConfigError,
    EnvContractError,
    LearnerError,
    NonFiniteError,
)
from rlcore.runtime.channels import Channels
from rlcore.runtime.inline import InlineRun


def test_async_keeps_its_lag_bound_and_counts_every_step():
    outcome = train("local", "async", actors=2, max_lag=1, updates=60)
    totals = outcome.totals
    assert totals["updates"] == 60
    assert all(record.get("lag/max", 0) <= 1 for record in outcome.records())
    assert totals["env_steps"] == totals["trained_steps"] + totals["dropped_steps"]
    assert totals["torn_fragments"] == 0
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_fragment_that_is_not_trained_on_wakes_its_writer(damaged, tmp_path, monkeypatch):
    signals = []
    monkeypatch.setattr(Channels, "signal_free", lambda self: signals.append(1))
    plan = make_plan("async", tmp_path, max_lag=1)
    run = InlineRun(plan, toy_parts.build(plan.config))
    run.start()
    while run._actors[0].collect():
        pass
    if damaged:
        for words in run.channels.ring._words:
            words[0] ^= 1
    else:
        run.loop.totals.updates = 10
    signals.clear()
    assert not run.loop.step()
    assert len(signals) == STREAMS
    assert run.channels.ring.ready_count() < run.channels.ring.slots
    totals = run.loop.totals
    assert totals.torn_fragments == (STREAMS if damaged else 0)
    assert totals.dropped_fragments == (0 if damaged else STREAMS)
    assert totals.dropped_steps == totals.env_steps
    assert bool(totals.dropped_steps) is not damaged
    run.close()


def test_waiting_for_stragglers_drops_nothing():
    outcome = train("local", "async", actors=2, max_lag=1, updates=60, on_stale="wait")
    assert outcome.totals["dropped_steps"] == 0
    assert outcome.totals["env_steps"] == outcome.totals["trained_steps"]


def test_reports_carry_the_step_axes_and_health():
    outcome = train("local", "async", actors=2, updates=None, stop={"seconds": 1.5})
    record = outcome.records()[-1]
    for name in ("step/env", "step/update", "time/wall_s", "fault/restarts", "fault/healthy"):
        assert name in record
    steps = [r["step/env"] for r in outcome.records()]
    assert steps == sorted(steps)


def test_stop_request_leaves_a_checkpoint():
    def stop_soon(run, messages):
        if any(m["kind"] == "metrics" for m in messages):
            run.request_stop()

    for schedule in ("async", "lockstep", "hogwild"):
        outcome = train("local", schedule, updates=10**9, actors=2, lag=1, watch=stop_soon)
        assert outcome.result["reason"] == "stop requested"
        assert outcome.totals["updates"] > 0


def test_nonfinite_losses_stop_the_run_and_spare_the_parameters():
    clean = train("inline", "serial", updates=5)
    poisoned = train("inline", "serial", updates=50, config={"poison": 5})
    assert isinstance(poisoned.error, NonFiniteError)
    assert "5 updates in a row" in str(poisoned.error)
    local = train(
        "local", "serial", updates=50, config={"poison": 5}, checkpoint_every_s=0.0, actors=1
    )
    assert isinstance(local.error, NonFiniteError)
    assert local.parameters == clean.parameters  # the last good checkpoint is the newest


class UntilBack:
    """Stops a run once an actor was lost, has started again, and every stream has gone on."""

    def __init__(self):
        self.rounds = None

    def __call__(self, run, messages):
        events = [(m["kind"], m.get("from")) for m in messages]
        lost = next((i for i, (kind, _) in enumerate(events) if kind == "actor_lost"), None)
        if lost is None or ("started", events[lost][1]) not in events[lost:]:
            return
        written = run.channels.ring.written
        if self.rounds is None:
            self.rounds = written.copy()
        elif (written > self.rounds).all():
            run.request_stop()


def test_an_actor_that_raises_is_restarted(tmp_path):
    fault = {"kind": "raise", "actor": "actor 1", "step": 20, "marker": str(tmp_path / "m")}
    outcome = train(
        "local", "async", actors=2, updates=10**9, config={"fault": fault}, watch=UntilBack()
    )
    assert outcome.error is None
    assert outcome.records()[-1]["fault/restarts"] == 1
    assert outcome.records()[-1]["fault/healthy"] == 2
    lost = outcome.of_kind("actor_lost")
    assert [(m["from"], m["cause"]) for m in lost] == [("actor-01", "ValueError: planted failure")]


@pytest.mark.parametrize("kind", ["kill", "exit"])
def test_a_killed_actor_comes_back_and_nothing_is_counted_twice(tmp_path, kind):
    fault = {"kind": kind, "actor": "any", "step": 33, "marker": str(tmp_path / "m")}
    outcome = train(
        "local", "async", actors=2, updates=10**9, config={"fault": fault}, watch=UntilBack()
    )
    assert outcome.error is None
    lost = outcome.of_kind("actor_lost")
    assert len(lost) == 1
    assert lost[0]["fragments_lost"] == 1  # it died in the middle of one
    assert lost[0]["cause"] == {"kill": "killed by SIGKILL", "exit": "exit status 3"}[kind]
    totals = outcome.totals
    assert totals["torn_fragments"] == 0
    assert totals["env_steps"] <= (totals["updates"] + totals["dropped_fragments"]) * STREAMS * 32


def test_a_hung_actor_is_found_its_stack_written_and_replaced(tmp_path):
    fault = {"kind": "hang", "actor": "actor 0", "step": 30, "marker": str(tmp_path / "m")}
    outcome = train(
        "local",
        "async",
        actors=2,
        updates=10**9,
        config={"fault": fault},
        step_deadline_s=1.0,
        watch=UntilBack(),
    )
    assert outcome.error is None
    (lost,) = outcome.of_kind("actor_lost")
    assert "no step for" in lost["cause"]
    assert "_misbehave" in (outcome.run_dir / "logs" / "actor-00.log").read_text()


def test_an_actor_that_does_not_start_names_the_deadline():
    slow = {"slow_start_s": 60.0}
    outcome = train("local", "async", start_deadline_s=0.5, max_restarts=0, config=slow)
    assert isinstance(outcome.error, ActorLostError)
    assert "actor 0: not started within runtime.start_deadline_s=0.5 (stack in" in str(
        outcome.error
    )


def test_an_actor_over_its_memory_limit_is_replaced():
    outcome = train("local", "async", updates=10**9, memory_limit_mb=1, max_restarts=1)
    assert isinstance(outcome.error, ActorLostError)
    assert "2 x  actor 0: over runtime.memory_limit_mb=1" in str(outcome.error)


def test_a_spent_restart_budget_ends_the_run_with_causes():
    fault = {"kind": "raise", "actor": "actor 1", "step": 5}
    outcome = train(
        "local",
        "async",
        actors=2,
        updates=10**9,
        config={"fault": fault},
        max_restarts=2,
    )
    assert isinstance(outcome.error, ActorLostError)
    assert "3 x  actor 1: ValueError: planted failure" in str(outcome.error)
    assert outcome.checkpoint.state["version"] >= 0
    assert children_of(os.getpid()) == []


def test_a_killed_learner_is_named_with_the_way_back():
    def kill(run, messages):
        if any(m["kind"] == "metrics" for m in messages) and run.learner.poll() is None:
            run.learner.process.kill()

    outcome = train("local", "async", actors=1, updates=10**9, watch=kill)
    assert isinstance(outcome.error, LearnerError)
    assert "killed by SIGKILL" in str(outcome.error)
    assert "last checkpoint" in str(outcome.error)


@pytest.mark.parametrize("schedule", ["async", "hogwild"])
def test_contract_errors_end_the_run_at_once(schedule):
    fault = {"kind": "contract", "actor": "actor 1", "step": 20}
    outcome = train("local", schedule, actors=2, updates=10**9, config={"fault": fault})
    assert isinstance(outcome.error, EnvContractError)
    assert str(outcome.error) == "actor 1: planted breach"
    assert len(outcome.of_kind("actor_lost")) == 1
    assert outcome.checkpoint.state["version"] >= 0


@pytest.mark.parametrize("schedule", ["serial", "lockstep", "async", "hogwild"])
@pytest.mark.parametrize(
    ("kind", "error"), [("contract", EnvContractError), ("nan", NonFiniteError)]
)
def test_what_was_learnt_inline_is_saved_when_an_environment_fails(schedule, kind, error):
    fault = {"kind": kind, "actor": "actor 0", "step": 100}
    outcome = train(
        "inline", schedule, updates=10**9, config={"fault": fault}, checkpoint_every_s=None
    )
    assert isinstance(outcome.error, error)
    assert outcome.totals["updates"] >= 3
    assert outcome.totals["env_steps"] > 0


@pytest.mark.parametrize("placement", ["inline", "local"])
def test_a_nonfinite_behaviour_log_probability_is_named_before_it_travels(placement):
    outcome = train(placement, "serial", updates=3, config={"nan_log_mu": True}, max_restarts=0)
    assert isinstance(outcome.error, {"inline": NonFiniteError, "local": ActorLostError}[placement])
    wanted = "behaviour log-probability is nan in stream 0, environment 1, step 0 of the fragment"
    assert wanted in str(outcome.error)
    assert outcome.totals["updates"] == outcome.totals["skipped_updates"] == 0


def test_too_few_working_actors_end_the_run(tmp_path):
    fault = {"kind": "raise", "actor": "actor 1", "step": 20, "marker": str(tmp_path / "m")}
    outcome = train(
        "local", "async", actors=2, updates=10**9, config={"fault": fault}, min_healthy=2
    )
    assert isinstance(outcome.error, ActorLostError)
    assert "1 of 2 actors work, wanted runtime.min_healthy=2" in str(outcome.error)
    assert "1 x  actor 1: ValueError: planted failure" in str(outcome.error)
    assert outcome.checkpoint.state["version"] >= 0


def test_a_loss_that_stays_nonfinite_ends_a_hogwild_run_at_once():
    outcome = train(
        "local", "hogwild", actors=1, updates=10**9, config={"poison": 5}, max_restarts=2
    )
    assert isinstance(outcome.error, NonFiniteError)
    assert "5 updates in a row" in str(outcome.error)
    assert len(outcome.of_kind("actor_lost")) == 1
    assert outcome.totals["updates"] == 5


@pytest.mark.parametrize("schedule", ["async", "hogwild"])
def test_an_actor_whose_environment_gives_nan_is_restarted(schedule, tmp_path):
    fault = {"kind": "nan", "actor": "actor 1", "step": 20, "marker": str(tmp_path / "m")}
    outcome = train(
        "local", schedule, actors=2, updates=300, config={"fault": fault, "slow_s": 0.02}
    )
    assert outcome.error is None
    (lost,) = outcome.of_kind("actor_lost")
    assert lost["cause"] == "NonFiniteError: planted NaN"


def test_the_plan_refuses_more_actors_than_streams_and_unknown_schedules(tmp_path):
    with pytest.raises(ConfigError, match="every actor needs a stream"):
        make_plan("async", tmp_path, actors=STREAMS + 1)
    with pytest.raises(ConfigError, match=r"runtime\.schedule must be"):
        make_plan("often", tmp_path)
