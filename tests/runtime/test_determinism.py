"""Same seed, same bits: over schedules, placements, numbers of actors, and across a resume."""

from __future__ import annotations

import pytest
from toy_runs import train


def parameters(*args, **kwargs) -> str:
    outcome = train(*args, **kwargs)
    assert outcome.error is None
    return outcome.parameters


@pytest.fixture(scope="module")
def serial() -> str:
    return parameters("inline", "serial", updates=30)


@pytest.mark.parametrize("actors", [1, 2, 4])
def test_lockstep_is_the_same_for_any_number_of_actors(actors):
    inline = parameters("inline", "lockstep", lag=1, updates=30)
    assert parameters("local", "lockstep", lag=1, updates=30, actors=actors) == inline


def test_lockstep_lag_changes_what_is_learnt(serial):
    assert parameters("inline", "lockstep", lag=1, updates=30) != serial
    assert parameters("inline", "lockstep", lag=0, updates=30) == serial


@pytest.mark.parametrize(("placement", "actors"), [("inline", 1), ("local", 1), ("local", 2)])
def test_async_at_lag_zero_is_serial_bit_for_bit(serial, placement, actors):
    assert parameters(placement, "async", max_lag=0, updates=30, actors=actors) == serial


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize(
    ("placement", "schedule", "lag"),
    [("inline", "serial", 0), ("inline", "lockstep", 2), ("local", "lockstep", 1)],
)
def test_resume_equals_the_straight_run(placement, schedule, lag, vector):
    common = {"lag": lag, "config": {"vector": vector}}
    straight = train(placement, schedule, updates=24, **common)
    first = train(placement, schedule, updates=11, **common)
    second = train(
        placement,
        schedule,
        updates=24,
        run_dir=first.run_dir,
        resume=first.result["saved"],
        epoch=1,
        **common,
    )
    assert second.parameters == straight.parameters
    timed = ("seconds",)
    assert {k: v for k, v in second.totals.items() if k not in timed} == {
        k: v for k, v in straight.totals.items() if k not in timed
    }


def test_periodic_checkpoints_change_nothing(serial):
    outcome = train("inline", "serial", updates=30, checkpoint_every_s=0.01)
    assert len(outcome.of_kind("checkpoint")) > 2
    assert outcome.parameters == serial


def test_hogwild_with_one_worker_repeats():
    runs = [train("inline", "hogwild", updates=40, actors=1) for _ in range(2)]
    assert runs[0].parameters == runs[1].parameters


def test_hogwild_never_acts_twice_with_the_same_noise(monkeypatch):
    from rlcore.runtime import actor

    drawn, derive = [], actor.derive_seed

    def watched(*key):
        drawn.append(key)
        return derive(*key)

    monkeypatch.setattr(actor, "derive_seed", watched)
    first = train("inline", "hogwild", updates=40, actors=2)
    before = set(drawn)
    train(
        "inline",
        "hogwild",
        updates=80,
        actors=2,
        run_dir=first.run_dir,
        resume=first.result["saved"],
        epoch=1,
    )
    assert len(before) >= 40
    assert len(drawn) > 1.5 * len(before)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("lag", [0, 2])
def test_a_killed_learner_costs_nothing_but_time(lag):
    """Going on from the last checkpoint that it wrote repeats the uninterrupted run."""
    killed = []

    def kill(run, messages):
        if not killed and any(m["kind"] == "checkpoint" for m in messages):
            killed.append(run.learner.pid)
            run.learner.process.kill()

    settings = {"lag": lag, "updates": 40, "actors": 2}
    straight = parameters("inline", "lockstep", **settings)
    first = train(
        "local",
        "lockstep",
        **settings,
        checkpoint_every_s=0.0,
        config={"slow_s": 0.02},
        watch=kill,
    )
    assert "killed by SIGKILL" in str(first.error)
    assert 0 < first.checkpoint.state["version"] < 40
    again = train(
        "local",
        "lockstep",
        **settings,
        run_dir=first.run_dir,
        resume=str(first.checkpoint.path),
        epoch=1,
    )
    assert again.totals["updates"] == 40
    assert again.parameters == straight
