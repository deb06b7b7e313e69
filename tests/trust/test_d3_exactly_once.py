"""Promise D3: fragments are consumed at most once; counters agree with the environments'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_parts import StampedStream
from toy_runs import ENVS, STREAMS, UNROLL, read_ledger, train

UPDATES = 60


@pytest.mark.parametrize(
    ("placement", "schedule", "settings"),
    [
        ("inline", "serial", {}),
        ("local", "lockstep", {"lag": 1, "actors": 2}),
        ("local", "async", {"max_lag": 3, "actors": 2}),
    ],
)
def test_every_step_is_trained_on_at_most_once_and_counted(
    tmp_path: Path, placement: str, schedule: str, settings: dict[str, Any]
) -> None:
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    # Environments one by one reset in the step that ends an episode: every row is a transition.
    config = {"stamps": str(stamps), "ledger": str(tmp_path / "ledger"), "vector": False}
    outcome = train(placement, schedule, updates=UPDATES, config=config, **settings)
    assert outcome.error is None
    lines, totals = read_ledger(config), outcome.totals
    seen = [step for line in lines for stream in line["rewards"] for step in stream]
    assert len(lines) == UPDATES
    assert len(seen) == len(set(seen))
    assert sum(line["steps"] for line in lines) == totals["trained_steps"]
    assert totals["env_steps"] == totals["trained_steps"] + totals["dropped_steps"]
    # Each stream's rounds are consecutive: nothing is missing but what was dropped and counted.
    taken = sum(file.stat().st_size for file in stamps.iterdir())
    if schedule != "async":
        assert totals["dropped_steps"] == 0
        assert sorted(seen) == sorted(
            token * StampedStream.STEPS + step
            for token in range(STREAMS)
            for step in range(UPDATES * UNROLL)
        )
    assert totals["env_steps"] <= taken * ENVS
    in_flight = taken * ENVS - totals["env_steps"]
    assert in_flight <= STREAMS * 4 * UNROLL * ENVS  # slots of the ring, and one being played
