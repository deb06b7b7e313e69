"""Resuming with other settings, from a damaged checkpoint, and choosing the best checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments import runner
from experiments.evaluate import evaluate_run, load_policy
from experiments.planning import math_hash
from experiments.validate import load_config
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.checkpoint_manifest import read_manifest

SMALL: dict[str, Any] = {
    "rlcore": 1,
    "name": "small",
    "agent": {"type": "a3c", "unroll": 4},
    "env": {"id": "CartPole-v1", "num_envs": 4},
    "runtime": {"placement": "inline", "schedule": "serial"},
    "stop": {"updates": 3},
    "eval": {"episodes": 0},
    "track": {"wandb": "off", "tensorboard": False, "console": "none"},
}
LR = "learner.optimizer.lr=0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runner.run(SMALL, name="one", out=tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "one"))


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def updates(folder: Path) -> list[int]:
    load = Checkpointer(folder / "checkpoints").load
    return [
        load(f"step={n}").state["version"] for n in Checkpointer(folder / "checkpoints").steps()
    ]


@pytest.mark.parametrize(
    ("change", "same"),
    [("stop.updates=9", True), ("eval.episodes=3", True), ("checkpoint.keep=9", True),
     ("track.every=9s", True), ("name=other", True), ("seed=1", False), (LR, False),
     ("env.num_envs=8", False), ("agent.gamma=0.5", False)],
)  # fmt: skip
def test_a_checkpoint_fits_what_computes_the_same(change: str, same: bool) -> None:
    before, after = load_config(SMALL), load_config(SMALL, [change])
    assert (math_hash(after.tree) == math_hash(before.tree)) is same
    assert after.hash != before.hash


def test_changed_settings_are_written_down_and_the_old_ones_kept(folder: Path) -> None:
    runner.resume(folder, ["stop.updates=5", LR], allow_change=["learner"])
    assert load_config(folder / "config.resolved.yaml").config.learner.optimizer.lr == 0.5
    assert load_config(folder / "config.resolved.1.yaml").config.learner.optimizer.lr != 0.5
    runner.resume(folder, ["stop.updates=7"])
    assert updates(folder) == [3, 5, 7]  # each went on from the newest
    assert load_config(folder / "config.resolved.2.yaml").config.stop.updates == 5


def test_a_change_whose_run_never_reached_a_checkpoint_is_no_dead_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(session: runner.Session) -> None:
        session.tracker.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Session, "train", crash)
    with pytest.raises(KeyboardInterrupt):
        runner.resume(folder, ["stop.updates=5", LR], allow_change=["learner"])
    monkeypatch.undo()
    runner.resume(folder)
    assert updates(folder) == [3, 5]


def test_a_checkpoint_that_is_passed_over_is_named(folder: Path) -> None:
    runner.resume(folder, ["stop.updates=5"])
    newest = Checkpointer(folder / "checkpoints").load("latest").path
    (newest / "learner.safetensors").write_bytes(b"damaged")
    runner.resume(folder, ["stop.updates=6"])
    (warning,) = [e for e in events(folder, "warning") if "passed over" in e["message"]]
    assert newest.name in warning["message"]
    oldest = Checkpointer(folder / "checkpoints").steps()[0]
    assert events(folder, "resumed")[-1]["step"] == oldest


def test_evaluations_choose_the_best_checkpoint(folder: Path) -> None:
    best = ["checkpoint.keep_best=eval/return_mean", "checkpoint.milestones=1"]
    runner.resume(folder, ["stop.updates=5", *best])
    older, newer = Checkpointer(folder / "checkpoints").steps()
    for step in (older, newer):
        result = evaluate_run(folder, episodes=2, selector=f"step={step}")
        manifest = read_manifest(folder / "checkpoints" / f"step-{step:012d}")
        assert manifest.metrics["eval/return_mean"] == result["eval/return_mean"]
    Checkpointer(folder / "checkpoints").record_metrics(
        folder / "checkpoints" / f"step-{older:012d}", {"eval/return_mean": 1e9}
    )
    assert load_policy(folder, "best")[3].step == older
    assert load_policy(folder, "latest")[3].step == newer


def test_milestones_of_an_experiment_are_kept(folder: Path) -> None:
    kept = ["checkpoint.milestones=1", "checkpoint.keep=1"]
    runner.resume(folder, ["stop.updates=5", *kept])
    runner.resume(folder, ["stop.updates=6", *kept])
    assert updates(folder) == [5, 6]
