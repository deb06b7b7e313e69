"""Promise R3: adding an actor changes no other stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_runs import read_ledger, train

from rlcore.data.seeding import derive_seed, env_seeds


@pytest.mark.parametrize(
    ("schedule", "settings"), [("lockstep", {"lag": 1}), ("async", {"max_lag": 0})]
)
def test_streams_are_the_same_with_any_number_of_actors(
    tmp_path: Path, schedule: str, settings: dict[str, int]
) -> None:
    seen = []
    for actors in (1, 2, 4):
        config = {"ledger": str(tmp_path / f"ledger-{actors}")}
        outcome = train("local", schedule, updates=12, actors=actors, config=config, **settings)
        assert outcome.error is None
        seen.append((outcome.parameters, read_ledger(config)))
    assert seen[0] == seen[1] == seen[2]


def test_seeds_are_keyed_by_stream_and_environment_alone() -> None:
    few = [env_seeds(5, stream, 3, 0) for stream in range(2)]
    many = [env_seeds(5, stream, 3, 0) for stream in range(6)]
    assert many[:2] == few
    assert len({seed for seeds in many for seed in seeds}) == 18
    assert env_seeds(5, 0, 3, 1) != few[0]  # a restarted stream plays other episodes
    assert len({derive_seed(5, "act", stream, 7) for stream in range(6)}) == 6
