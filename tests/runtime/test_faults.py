"""Faults around checkpoints: full disks, lost actors, states that cannot be had, folders gone."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import toy_parts
from toy_runs import make_plan, train

from rlcore.errors import ActorLostError, CheckpointError, LearnerError, NonFiniteError
from rlcore.runtime import keeper as keeper_module
from rlcore.runtime import roles
from rlcore.runtime.channels import Channels, parameter_layout
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.hogwild_run import HogwildMonitor
from rlcore.runtime.inline import InlineRun
from rlcore.runtime.keeper import StreamDumps
from rlcore.runtime.param_store import ParamStore

STATE = {"json": {"env": []}, "arrays": {"x": np.arange(3.0)}}


def warnings_of(outcome) -> str:
    return "\n".join(m["message"] for m in outcome.of_kind("warning"))


# -- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["lockstep", "hogwild"])
def test_restarted_actors_do_not_need_the_resumed_checkpoint(schedule):
    first = train("inline", schedule, updates=6, lag=1, actors=2)
    everyone = 3 if schedule == "lockstep" else 2
    killed = []

    def kill_one(run, messages):
        kinds = [m["kind"] for m in messages]
        if not killed and "metrics" in kinds and kinds.count("started") == everyone:
            shutil.rmtree(first.result["saved"])
            killed.append(run.seats[0].child)
            killed[0].process.kill()
        if killed and kinds.count("started") > everyone:
            run.request_stop()

    outcome = train(
        "local", schedule, updates=10**9, lag=1, actors=2, run_dir=first.run_dir,
        resume=first.result["saved"], epoch=1, watch=kill_one, max_restarts=3,
    )  # fmt: skip
    assert outcome.error is None
    assert [m["cause"] for m in outcome.of_kind("actor_lost")] == ["killed by SIGKILL"]
    assert outcome.totals["updates"] > 6


def test_an_actor_reads_its_own_streams_only():
    first = train("inline", "lockstep", updates=6, lag=1)
    plan = make_plan("lockstep", first.run_dir, lag=1, resume=first.result["saved"])
    assert set(roles.open_streams(plan, [1, 3], 0).tensors) == {"stream-0001", "stream-0003"}
    assert roles.open_streams(plan, [1, 3], 1) is None
    assert roles.open_streams(dataclasses.replace(plan, schedule="async"), [1, 3], 0) is None


def test_rounds_and_the_final_one_are_known_before_actors_can_begin(monkeypatch):
    first = train("inline", "lockstep", updates=11, lag=1)
    plan = make_plan(
        "lockstep", first.run_dir, lag=1, updates=12, resume=first.result["saved"], epoch=1
    )
    parts = toy_parts.build(plan.config)
    channels = Channels(plan, plan.fragment_spec(parts), parameter_layout(parts), 8)
    seen, publish = [], ParamStore.publish

    def watched(store, state, version):
        control = channels.control
        seen.append((version, channels.ring.written.tolist(), control.checkpoint_round))
        assert not control.published
        publish(store, state, version)

    monkeypatch.setattr(ParamStore, "publish", watched)
    roles.build_learner(plan, parts, channels, roles.open_checkpoint(plan), lambda *a, **k: None)
    assert seen == [(10, [11] * 4, 12), (11, [11] * 4, 12)]
    assert channels.control.published
    channels.close()


def test_an_actor_without_parameters_says_so(tmp_path):
    plan = make_plan("async", tmp_path, start_deadline_s=0.2)
    parts = toy_parts.build(plan.config)
    channels = Channels(plan, plan.fragment_spec(parts), parameter_layout(parts), 8)

    class Silent:
        def send(self, kind, **fields):
            pass

    args = {"plan": plan.to_json(), "fds": channels.fds(), "index": 0, "streams": [0]}
    with pytest.raises(ActorLostError, match=r"published no parameters within .*=0.2"):
        roles.actor_main(args, Silent())
    channels.close()


# -- stream states ------------------------------------------------------------------------------


def test_a_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    dumps = StreamDumps(tmp_path)

    def half(path, tensors):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper_module, "save_tensors", half)
    with pytest.raises(CheckpointError, match=r"state of stream 0 .*No space left"):
        dumps.write(0, 7, STATE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match=r"stream-0000|stream 0 is lost"):
        dumps.take(1, 7)
    monkeypatch.undo()
    dumps.write(0, 7, STATE)
    tensors, values = dumps.take(1, 7)
    assert tensors["stream-0000"]["x"].tolist() == [0.0, 1.0, 2.0]
    assert values == [{"env": []}]
    dumps.clear()
    assert list(tmp_path.iterdir()) == []


def failing(function, times: int, error: Exception):
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) <= times:
            raise error
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("where", ["write", "take"])
def test_a_failed_state_costs_a_checkpoint_and_nothing_else(monkeypatch, where):
    straight = train("inline", "serial", updates=20)
    if where == "write":
        error = OSError(28, "No space left on device")
        monkeypatch.setattr(
            keeper_module, "save_tensors", failing(keeper_module.save_tensors, 6, error)
        )
    else:
        monkeypatch.setattr(
            StreamDumps, "take", failing(StreamDumps.take, 2, CheckpointError("gone"))
        )
    outcome = train("inline", "serial", updates=20, checkpoint_every_s=0.0)
    assert outcome.error is None
    failed = outcome.of_kind("checkpoint_failed")
    assert len(failed) >= 2
    assert not any(message["final"] for message in failed)
    assert len(outcome.of_kind("checkpoint")) > 2  # those after it hold everything again
    assert outcome.parameters == straight.parameters
    assert len(outcome.checkpoint.state["streams"]) == 4


def test_a_last_checkpoint_without_streams_is_better_than_none(monkeypatch):
    error = OSError(28, "No space left on device")
    monkeypatch.setattr(keeper_module, "save_tensors", failing(None, 10**9, error))
    first = train("inline", "serial", updates=20)
    monkeypatch.undo()
    assert first.error is None
    assert first.checkpoint.state["streams"] == []
    assert "no environments" in warnings_of(first)
    second = train(
        "inline", "serial", updates=24, run_dir=first.run_dir, resume=first.result["saved"], epoch=1
    )
    assert second.totals["updates"] == 24
    assert "start fresh episodes" in warnings_of(second)


def test_environments_that_give_no_state_cost_exactness_and_say_so():
    fault = {"kind": "stateless", "actor": "any", "step": -1}
    config = {"fault": fault}
    first = train("inline", "serial", updates=9, config=config, checkpoint_every_s=0.0)
    assert first.error is None
    assert [values["env"] for values in first.checkpoint.state["streams"]] == [None] * 4
    assert len(first.of_kind("warning")) == 1  # once, not with every checkpoint
    assert "environment gives no state" in warnings_of(first)
    second = train(
        "inline", "serial", updates=12, config=config, run_dir=first.run_dir,
        resume=first.result["saved"], epoch=1,
    )  # fmt: skip
    assert second.error is None
    assert second.totals["updates"] == 12
    assert "holds no environments for 4 of 4 streams" in warnings_of(second)


# -- endings ------------------------------------------------------------------------------------


def test_a_stop_while_starved_saves_without_streams(tmp_path):
    plan = make_plan("lockstep", tmp_path, lag=1, updates=10**9)
    run = InlineRun(plan, toy_parts.build(plan.config))
    run.start()
    run.poll(0.3)
    now = time.monotonic()
    run.keeper._clock = lambda: now
    run.request_stop()
    run.keeper.turn()
    assert not run.keeper.finished  # actors get time to deliver
    now += keeper_module.FINAL_DUMP_DEADLINE_S + 1.0
    run.keeper.turn()
    assert run.keeper.finished
    saved = Checkpointer(tmp_path / "checkpoints").load("latest")
    assert saved.state["version"] == run.loop.version > 0
    assert saved.state["streams"] == []
    run.close()


def test_a_run_that_ends_for_lost_actors_keeps_what_was_learnt():
    fault = {"kind": "raise", "actor": "actor 1", "step": 40}
    started = time.monotonic()
    outcome = train(
        "local", "lockstep", lag=1, actors=2, updates=10**9, config={"fault": fault}, max_restarts=0
    )
    assert isinstance(outcome.error, ActorLostError)
    assert outcome.totals["updates"] >= 3
    assert "an actor is gone" in warnings_of(outcome)
    assert time.monotonic() - started < keeper_module.FINAL_DUMP_DEADLINE_S


@pytest.mark.parametrize("schedule", ["serial", "async", "hogwild"])
def test_a_failing_learner_leaves_its_good_parameters(schedule):
    clean = train("inline", schedule, updates=4, max_lag=0)
    outcome = train(
        "inline", schedule, updates=50, max_lag=0, config={"poison": 4}, checkpoint_every_s=None
    )
    assert isinstance(outcome.error, NonFiniteError)
    assert outcome.totals["updates"] == 4  # one a stream, so that Hogwild stops there too
    assert outcome.parameters == clean.parameters


def test_bad_parameters_are_not_saved(tmp_path):
    plan = make_plan("serial", tmp_path, checkpoint_every_s=None)
    run = InlineRun(plan, toy_parts.build(plan.config))
    run.start()
    run.poll(0.0)
    next(run.loop.network.parameters()).data.fill_(float("nan"))
    run.keeper.save_before_failing("it failed")
    assert any("not finite" in m["message"] for m in run._messages if m["kind"] == "warning")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Checkpointer(tmp_path / "checkpoints").load("latest")
    run.close()


def test_hogwild_workers_stand_still_when_the_last_checkpoint_is_taken(monkeypatch):
    runs = []

    def stop_soon(run, messages):
        runs.append(run)
        if any(m["kind"] == "metrics" for m in messages):
            run.request_stop()

    save = HogwildMonitor.save_if_due

    def slow_save(monitor, final=False):
        event = save(monitor, final)
        if final:
            time.sleep(0.3)  # time for a worker that still runs to move on
        return event

    monkeypatch.setattr(HogwildMonitor, "save_if_due", slow_save)
    outcome = train("local", "hogwild", updates=10**9, actors=2, watch=stop_soon)
    monitor = runs[-1].monitor
    monitor.learner.pull()
    now = monitor.network.state_dict()
    saved = outcome.checkpoint.tensors["params-0"]
    assert all(bool((now[name] == saved[name]).all()) for name in now)
    monitor.refresh()
    assert outcome.totals["updates"] == monitor.totals.updates


def test_a_stop_requested_during_a_save_still_gets_its_last_checkpoint(monkeypatch):
    save = keeper_module.CheckpointKeeper._save

    def stop_meanwhile(keeper, tensors, streams, final):
        keeper.control.request_stop()
        save(keeper, tensors, streams, final)

    monkeypatch.setattr(keeper_module.CheckpointKeeper, "_save", stop_meanwhile)
    outcome = train("inline", "async", updates=10**9, checkpoint_every_s=0.0)
    assert outcome.result["reason"] == "stop requested"
    assert [m["final"] for m in outcome.of_kind("checkpoint")] == [False, True]
    assert outcome.totals["updates"] == outcome.records()[-1]["step/update"]


def test_milestones_reach_the_checkpointer(tmp_path):
    plan = make_plan("serial", tmp_path, milestones=256, checkpoint_keep=1, checkpoint_every_s=0.0)
    assert roles.make_checkpointer(plan).milestones == 256
    outcome = train(
        "inline", "serial", updates=20, run_dir=tmp_path, milestones=1024, checkpoint_keep=1,
        checkpoint_every_s=0.0,
    )  # fmt: skip
    assert len(Checkpointer(tmp_path / "checkpoints").steps()) > 1
    assert outcome.error is None


def test_a_learner_error_is_raised_after_its_messages():
    outcome = train("inline", "serial", updates=50, config={"poison": 0}, checkpoint_every_s=None)
    assert isinstance(outcome.error, LearnerError)
    assert outcome.of_kind("checkpoint")
