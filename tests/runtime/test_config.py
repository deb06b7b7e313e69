"""Settings of the runtime."""

from __future__ import annotations

import pytest

from rlcore.errors import ConfigError
from rlcore.runtime.config import RuntimeConfig, default_streams


@pytest.mark.parametrize(
    ("num_envs", "actors", "streams"),
    [(16, 1, 4), (16, 4, 4), (2, 1, 2), (2, 2, 2), (9, 1, 3), (7, 1, 1), (1, 1, 1), (6, 1, 3),
     (6, 3, 3), (1_000_000, 3, 4), (999_983, 1, 1)],
)  # fmt: skip
def test_default_streams(num_envs: int, actors: int, streams: int) -> None:
    assert default_streams(num_envs, actors) == streams
    assert num_envs % streams == 0
    assert streams >= actors


@pytest.mark.parametrize("num_envs", [1, 6, 7, 12, 16, 999_983])
def test_the_default_does_not_depend_on_the_number_of_actors(num_envs: int) -> None:
    """Streams key seeds and join into batches: with more actors they must stay the same."""
    found = set()
    for actors in range(1, min(num_envs, 9) + 1):
        try:
            found.add(default_streams(num_envs, actors))
        except ConfigError:
            assert actors > max(found)
    assert len(found) == 1


def test_more_actors_than_streams_by_default_are_told_what_to_set() -> None:
    with pytest.raises(ConfigError) as caught:
        default_streams(16, 5)
    assert str(caught.value) == (
        "runtime.actors=5 wants as many streams, and env.num_envs=16 gives 4 by default: set "
        "runtime.streams to 8 or another divisor from 5 on"
    )


@pytest.mark.parametrize(("num_envs", "actors"), [(4, 5), (4, 0), (0, 1)])
def test_every_actor_needs_an_environment(num_envs: int, actors: int) -> None:
    with pytest.raises(ConfigError, match=r"runtime\.actors must be in \[1, env\.num_envs"):
        default_streams(num_envs, actors)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actors", 0, "actors must be >= 1, got 0"),
        ("streams", 0, "streams must be >= 1, got 0"),
        ("batch", -1, "batch must be >= 1, got -1"),
        ("lag", -1, "lag must be >= 0, got -1"),
        ("max_lag", -1, "max_lag must be >= 0, got -1"),
        ("max_restarts", -1, "max_restarts must be >= 0, got -1"),
        ("step_deadline_s", 0.0, "step_deadline_s must be > 0 and finite, got 0"),
        ("start_deadline_s", float("inf"), "start_deadline_s must be > 0 and finite, got inf"),
        ("memory_limit_mb", 0, "memory_limit_mb must be >= 1, got 0"),
        ("schedule", "x", "schedule must be one of serial, lockstep, async, hogwild, got 'x'"),
        ("placement", "ray", "placement must be one of inline, local, got 'ray'"),
        ("on_stale", "keep", "on_stale must be one of drop, wait, got 'keep'"),
    ],
)
def test_each_limit(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RuntimeConfig(**{name: value})  # type: ignore[arg-type]
    assert str(caught.value) == message
