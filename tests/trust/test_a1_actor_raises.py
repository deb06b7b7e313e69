"""Promise A1: an actor whose environment raises is restarted, and training reaches its target."""

from __future__ import annotations

from pathlib import Path

from toy_runs import train

TARGET = 150.0


def test_training_reaches_its_target_past_an_environment_that_raises(tmp_path: Path) -> None:
    fault = {"kind": "raise", "actor": "actor 1", "step": 100, "marker": str(tmp_path / "raised")}
    outcome = train(
        "local",
        "async",
        actors=2,
        updates=None,
        stop={"episode_return": TARGET},
        config={"fault": fault, "slow_s": 0.01},
    )
    assert outcome.error is None
    assert [m["cause"] for m in outcome.of_kind("actor_lost")] == ["ValueError: planted failure"]
    started = [m["actor"] for m in outcome.of_kind("started")]
    assert started.count(1) == 2
    assert outcome.records()[-1]["episode/return_mean"] >= TARGET
    assert outcome.records()[-1]["fault/restarts"] == 1
    assert "planted failure" in (outcome.run_dir / "logs" / "actor-01.log").read_text()
