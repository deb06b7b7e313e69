"""What is kept of an update that was left out: enough to see why, never more than is allowed."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_parts
from toy_runs import ENVS, UNROLL, train

from rlcore.errors import NonFiniteError
from rlcore.learners.nonfinite import BadTensor, BadUpdate
from rlcore.runtime.bad_batches import BadBatches
from rlcore.tensor_file import load_tensors


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Events(list):
    def __call__(self, kind: str, **fields: Any) -> None:
        self.append((kind, fields))

    def warnings(self) -> list[str]:
        return [fields["message"] for kind, fields in self if kind == "warning"]


def make_bad(version: int = 7, **arrays: torch.Tensor) -> BadUpdate:
    batch = {"reward": torch.tensor([[1.0, math.nan]]), "progress": 0.25, **arrays}
    bad = BadTensor("batch['reward']", 1, 2, (0, 1))
    return BadUpdate((batch,), version, math.nan, math.inf, (bad, BadTensor("the loss", 1, 1, ())))


def described(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((run_dir / "debug").glob("*.json"))]


def test_it_holds_the_batch_and_what_was_not_finite(tmp_path: Path) -> None:
    events = Events()
    BadBatches(tmp_path, "learner", events)(make_bad(obs=torch.arange(6, dtype=torch.uint8)))
    (path,) = (tmp_path / "debug").glob("*.json")
    assert path.name == "version-000000000007-learner-000001.json"
    (found,) = described(tmp_path)
    assert found == {
        "version": 7,
        "loss": "nan",
        "grad_norm": "inf",
        "nonfinite": [
            {"name": "batch['reward']", "entries": 1, "size": 2, "first": [0, 1]},
            {"name": "the loss", "entries": 1, "size": 1, "first": []},
        ],
        "arrays": "version-000000000007-learner-000001.safetensors",
        "arrays_left_out": {},
        "values": {"progress": 0.25},
        "bad_updates_so_far": 1,
    }
    arrays = load_tensors(tmp_path / "debug" / found["arrays"])
    assert set(arrays) == {"reward", "obs"}
    assert torch.equal(arrays["obs"], torch.arange(6, dtype=torch.uint8))
    np.testing.assert_array_equal(arrays["reward"].numpy(), [[1.0, math.nan]])
    (warning,) = events.warnings()
    assert f"is kept in {path} (not finite: batch['reward'], the loss)" in warning
    assert events[-1] == (
        "bad_batch",
        {"path": str(path), "nonfinite": ["batch['reward']", "the loss"], "seen": 1},
    )


def test_no_text_of_a_batch_is_written(tmp_path: Path) -> None:
    secret = "sk-do-not-write-me"
    batch = {"x": torch.ones(2), "who": secret, "parts": [{"y": torch.zeros(1), "n": 3}], "z": None}
    BadBatches(tmp_path, "learner", Events())(BadUpdate((batch,), 0, 1.0, math.nan, ()))
    (found,) = described(tmp_path)
    assert found["values"] == {"who": "(str)", "parts/0/n": 3, "z": None}
    assert set(load_tensors(tmp_path / "debug" / found["arrays"])) == {"x", "parts/0/y"}
    for file in (tmp_path / "debug").iterdir():
        assert secret.encode() not in file.read_bytes()


def test_of_a_series_the_first_is_written_and_all_are_counted(tmp_path: Path) -> None:
    clock, events = Clock(), Events()
    keeper = BadBatches(tmp_path, "learner", events, clock=clock)
    for version in range(5):
        keeper(make_bad(version))
        clock.now += 0.2
    assert (keeper.seen, keeper.written) == (5, 1)
    keeper(make_bad(5))
    assert (keeper.seen, keeper.written) == (6, 2)
    assert [f["version"] for f in described(tmp_path)] == [0, 5]
    assert described(tmp_path)[1]["bad_updates_so_far"] == 6
    assert len(events.warnings()) == 1


def test_the_newest_stay(tmp_path: Path) -> None:
    clock = Clock()
    keepers = [BadBatches(tmp_path, f"actor-0{i}", Events(), keep=3, clock=clock) for i in (0, 1)]
    for version in range(8):
        keepers[version % 2](make_bad(version))
        clock.now += 1.0
    assert [f["version"] for f in described(tmp_path)] == [5, 6, 7]
    assert len(list((tmp_path / "debug").iterdir())) == 6


def test_the_largest_arrays_are_left_out_and_named(tmp_path: Path) -> None:
    keeper = BadBatches(tmp_path, "learner", Events(), max_bytes=1000)
    keeper(make_bad(obs=torch.zeros(993, dtype=torch.uint8), mask=torch.zeros(8, dtype=torch.bool)))
    (found,) = described(tmp_path)
    assert found["arrays_left_out"] == {"obs": 993}
    assert set(load_tensors(tmp_path / "debug" / found["arrays"])) == {"reward", "mask"}


def test_a_disk_that_is_full_costs_one_warning(tmp_path: Path) -> None:
    clock, events = Clock(), Events()
    keeper = BadBatches(tmp_path, "learner", events, clock=clock)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for version in range(3):
            keeper(make_bad(version))
            clock.now += 2.0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "debug").iterdir()) == []
    (warning,) = events.warnings()
    assert "was not kept in" in warning
    assert "File too large" in warning
    assert (keeper.seen, keeper.written) == (3, 0)
    keeper(make_bad(9))
    assert [f["version"] for f in described(tmp_path)] == [9]


def test_arrays_without_a_description_do_not_stay(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    events = Events()
    monkeypatch.setattr(Path, "write_text", full)
    BadBatches(tmp_path, "learner", events)(make_bad())
    assert list((tmp_path / "debug").iterdir()) == []
    assert "No space left on device" in events.warnings()[0]


@pytest.mark.parametrize("contents", ["file", "missing"])
def test_no_folder_no_harm(tmp_path: Path, contents: str) -> None:
    run_dir = tmp_path / "run"
    if contents == "file":
        run_dir.mkdir()
        (run_dir / "debug").write_text("in the way")
    events = Events()
    BadBatches(run_dir, "learner", events)(make_bad())
    assert len(events.warnings()) == 1


def test_what_cannot_be_stored_is_a_warning(tmp_path: Path) -> None:
    events = Events()
    BadBatches(tmp_path, "learner", events)(make_bad(odd=torch.zeros(2, dtype=torch.complex64)))
    assert "complex64 cannot be stored" in events.warnings()[0]
    assert list((tmp_path / "debug").iterdir()) == []


@pytest.mark.parametrize(
    ("placement", "schedule"),
    [("inline", "serial"), ("local", "serial"), ("inline", "hogwild"), ("local", "hogwild")],
)
def test_a_run_keeps_its_batch_of_nan_rewards(placement: str, schedule: str) -> None:
    """One poisoned fragment costs one update; what it was is in the folder, and is NaN again."""
    steps = range(3 * UNROLL + 1, 4 * UNROLL + 1)
    fault = {"kind": "nan_reward", "actor": "actor 0", "step": -1, "steps": list(steps)}
    config = {"fault": fault, "vector": schedule != "hogwild"}
    outcome = train(placement, schedule, updates=12, actors=1, streams=1, config=config)
    assert outcome.error is None
    assert outcome.totals["skipped_updates"] == 1
    assert outcome.totals["updates"] == 12
    assert outcome.records()[-1]["fault/nonfinite"] == 1

    (event,) = outcome.of_kind("bad_batch")
    (found,) = described(outcome.run_dir)
    writer = "actor-00" if schedule == "hogwild" else "learner"
    assert event["path"].endswith(f"version-000000000003-{writer}-000001.json")
    assert found["version"] == 3
    assert found["nonfinite"][0] == {
        "name": "batch['reward']",
        "entries": UNROLL,
        "size": UNROLL * ENVS,
        "first": [0, 1],
    }
    names = [tensor["name"] for tensor in found["nonfinite"]]
    assert "the loss" in names
    assert "the gradient of 'body.weight'" in names
    assert not any(name.startswith("the parameter") for name in names)

    batch = load_tensors(outcome.run_dir / "debug" / found["arrays"])
    assert bool(batch["reward"][:, 1].isnan().all())
    agent = toy_parts.build({"unroll": UNROLL, "envs": ENVS}).agent
    assert agent.loss(agent.build_network(), batch).loss.isnan()
    batch["reward"][:, 1] = 1.0
    assert agent.loss(agent.build_network(), batch).loss.isfinite()


def test_a_run_that_dies_of_it_has_kept_the_first_of_the_series() -> None:
    outcome = train("local", "serial", updates=50, actors=1, config={"poison": 5})
    assert isinstance(outcome.error, NonFiniteError)
    (found,) = described(outcome.run_dir)
    assert found["version"] == 5
    assert found["nonfinite"][0]["name"] == "the loss"
    warnings = [m["message"] for m in outcome.of_kind("warning")]
    assert any("a batch with a non-finite loss or gradient is kept in" in w for w in warnings)


def test_a_folder_in_the_way_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "debug").write_text("in the way")
    fault = {"kind": "nan_reward", "actor": "actor 0", "step": -1, "steps": [30]}
    outcome = train(
        "inline", "serial", updates=12, streams=1, config={"fault": fault}, run_dir=tmp_path
    )
    assert outcome.error is None
    assert outcome.totals["skipped_updates"] == 1
    assert outcome.totals["updates"] == 12
    assert len([m for m in outcome.of_kind("warning") if "was not kept" in m["message"]]) == 1
