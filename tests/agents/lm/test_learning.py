"""The shipped character model learns Shakespeare on two cores."""

from __future__ import annotations

from pathlib import Path

import pytest

import experiments
from experiments.cli import main


@pytest.mark.learning
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_character_model_reaches_its_held_out_loss(
    data_dir: Path, repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    text = data_dir / "tinyshakespeare" / "input.txt"
    assert main(["data", "tokenize", str(text), "--out", "data/shakespeare-char"]) == 0
    run = experiments.run(
        repo_root / "experiments/configs/lm/shakespeare-char-cpu.yaml",
        ["track.wandb=off", "track.tensorboard=false", "track.console=none", f"seed={seed}"],
        out=tmp_path,
    )
    losses = [record["eval/loss"] for record in run.metrics() if "eval/loss" in record]
    assert losses[-1] < 1.70  # seed 0 reached 1.594; a guess by letter frequencies has 3.3
    assert losses == sorted(losses, reverse=True)
