"""Promise D1: lag never exceeds its bound under any schedule that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_runs import read_ledger, train


@pytest.mark.parametrize(
    ("placement", "schedule", "settings", "bound"),
    [
        ("inline", "serial", {}, 0),
        ("inline", "lockstep", {"lag": 3}, 3),
        ("local", "lockstep", {"lag": 2, "actors": 2}, 2),
        ("inline", "async", {"max_lag": 2}, 2),
        ("local", "async", {"max_lag": 1, "actors": 3, "on_stale": "drop"}, 1),
        ("local", "async", {"max_lag": 1, "actors": 2, "on_stale": "wait"}, 1),
        ("local", "async", {"max_lag": 0, "actors": 2}, 0),
    ],
)
def test_no_update_trains_on_older_data(
    tmp_path: Path, placement: str, schedule: str, settings: dict[str, Any], bound: int
) -> None:
    config = {"ledger": str(tmp_path / "ledger")}
    outcome = train(placement, schedule, updates=60, config=config, **settings)
    assert outcome.error is None
    lines = read_ledger(config)
    assert len(lines) == 60
    lags = [version - line["versions"][0] for version, line in enumerate(lines)]
    assert max(lags) <= bound
    assert all(line["versions"][1] <= version for version, line in enumerate(lines))
    reported = [record["lag/max"] for record in outcome.records() if "lag/max" in record]
    assert max(reported) == max(lags)
    if schedule in ("serial", "lockstep"):
        assert set(lags[bound:]) == {bound}
