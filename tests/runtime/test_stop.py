"""When a run ends, and how much of its budget is spent."""

from __future__ import annotations

from typing import Any

import pytest

from rlcore.runtime.stop import EPISODE_WINDOW, StopLimits

NOW: dict[str, Any] = {"env_steps": 100, "updates": 10, "seconds": 5.0, "returns": [2.0] * 100}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, None),
        ({"env_steps": 100}, "env_steps 100 >= 100"),
        ({"env_steps": 101}, None),
        ({"updates": 10}, "updates 10 >= 10"),
        ({"updates": 11}, None),
        ({"seconds": 5.0}, "wall_time 5.0 s >= 5 s"),
        ({"seconds": 5.1}, None),
        ({"episode_return": 2.0}, "return 2.00 >= 2 over 100 episodes"),
        ({"episode_return": 2.1}, None),
        ({"updates": 10, "episode_return": 9.0}, "updates 10 >= 10"),
        ({"loss": 1.0}, None),
    ],
)
def test_the_first_limit_that_is_reached_is_named(
    limits: dict[str, float], reason: str | None
) -> None:
    assert StopLimits(**limits).reason(**NOW) == reason  # type: ignore[arg-type]


def test_a_few_lucky_episodes_do_not_end_a_run() -> None:
    limits = StopLimits(episode_return=2.0)
    assert limits.reason(**NOW | {"returns": [500.0] * (EPISODE_WINDOW - 1)}) is None
    assert limits.reason(**NOW | {"returns": [500.0] * EPISODE_WINDOW}) is not None
    assert limits.reason(**NOW | {"returns": [0.0] * 51 + [4.0] * 49}) is None


def test_a_loss_ends_a_run_that_measures_it() -> None:
    limits = StopLimits(loss=1.5)
    assert limits.reason(**NOW, loss=1.5) == "held-out loss 1.5000 <= 1.5"
    assert limits.reason(**NOW, loss=1.6) is None


@pytest.mark.parametrize(
    ("limits", "progress"),
    [({}, 0.0), ({"env_steps": 400}, 0.25), ({"updates": 20}, 0.5), ({"seconds": 6.0}, 0.0),
     ({"env_steps": 400, "updates": 20}, 0.5), ({"env_steps": 50}, 1.0)],
)  # fmt: skip
def test_progress_is_the_larger_share_of_steps_and_updates(
    limits: dict[str, float], progress: float
) -> None:
    assert StopLimits(**limits).progress(env_steps=100, updates=10) == progress  # type: ignore[arg-type]
