"""``rlcore bench envs``: the plan, its measures, rows against a target."""

import pytest

import envs
from envs.catalogue import FAMILIES
from experiments.bench import env_measures
from experiments.bench import env_rows as bench
from experiments.bench.harness import Row, Side, against
from experiments.bench.suite import BENCHES, run_bench


def test_every_family_has_rows():
    keys = bench.plan(1)
    assert {key.partition("/")[0] for key in keys} == set(FAMILIES) - {"testing"}
    for speed in bench.SPEEDS:
        assert speed.id in envs.list()
        assert f"{speed.id}/peer" in keys
        assert (f"{speed.id}/target" in keys) == (speed.target is not None)
        assert speed.peer in bench.NAMES


def test_targets_are_those_of_the_catalogue():
    targets = {speed.id: speed.target for speed in bench.SPEEDS if speed.target}
    assert targets == {
        "subtasks/rooms-v0": 3e6, "subtasks/f110-turn-v0": 1e5, "dynamics/ks-v0": 2e4,
        "dynamics/lorenz-v0": 5e6, "dynamics/vanderpol-v0": 5e6, "text/twenty-questions-v0": 1e5,
        "text/wordle-v0": 1e5, "labyrinth/random-v0": 2e4,
    }  # fmt: skip
    assert dict(bench.TASKS) == {"CountdownTask": 2e5, "SudokuTask": 5e5}


def test_a_row_against_a_target(monkeypatch):
    values = iter([30.0, 10.0, 20.0])
    monkeypatch.setattr("experiments.bench.harness.sample", lambda side: {"value": next(values)})
    row = against("x", "steps/s", Side("a", "b"), 40.0, 3)
    assert (row.ours, row.peer, row.peer_name) == (20.0, 40.0, "target")
    assert (row.ratio_min, row.ratio_median, row.ratio_max) == (0.25, 0.5, 0.75)


def test_only_the_asked_for_rows_run(monkeypatch):
    seen = []

    def row(*arguments):
        seen.append(arguments[0])
        return Row("m", "u", 1.0, 1.0, "p", 1.0, 1.0, 1.0, 1)

    monkeypatch.setattr(bench, "compare", row)
    monkeypatch.setattr(bench, "against", row)
    kept = []
    rows = run_bench("envs", repeats=1, only="lorenz", say=lambda text: None)
    assert len(rows) == 2
    assert seen == ["dynamics/lorenz-v0"] * 2
    BENCHES["envs"](1, lambda text: None, "finray/lattice", lambda rows: kept.append(len(rows)))
    assert kept == [1, 2, 3, 4]


def test_compiled_forms_meet_two_loops() -> None:
    """The loop with the same compiled code, and the one that a user gets without asking."""
    keys = [key for key in bench.plan(1) if key.startswith("subtasks/f110-turn-v0/")]
    assert keys == [f"subtasks/f110-turn-v0/{end}" for end in ("peer", "target", "peer-numpy")]
    assert "dynamics/lorenz-v0/peer-numpy" not in bench.plan(1)


@pytest.mark.parametrize(
    ("measure", "arguments"),
    [
        ("env_steps", {"id": "dynamics/lorenz-v0", "form": "vector", "num_envs": 8}),
        ("env_steps", {"id": "dynamics/lorenz-v0", "form": "plain"}),
        ("env_steps", {"id": "dynamics/lorenz-v0", "form": "gymnasium", "num_envs": 2}),
        ("task_rewards", {"task": "CountdownTask", "batch": 8}),
        ("task_rewards", {"task": "SudokuTask", "batch": 8, "batched": False}),
        ("lattice_updates", {"fast": False}),
    ],
)
def test_measures_return_a_rate(monkeypatch, measure, arguments):
    monkeypatch.setattr(env_measures, "WARM_UP_S", 0.01)
    assert getattr(env_measures, measure)(seconds=0.02, **arguments)["value"] > 10


def test_rates_are_units_over_time(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) / 4)
    calls = []
    # A look at the clock takes a quarter of a second: three calls fit into one second.
    assert env_measures._rate(lambda: calls.append(1), 7, 1.0) == 21.0


def test_a_measure_may_be_anywhere():
    from experiments.bench.harness import sample

    side = Side("x", "experiments.bench.env_measures:env_steps",
                {"id": "testing/one-step-v0", "form": "plain", "seconds": 0.01})  # fmt: skip
    assert sample(side)["value"] > 10
