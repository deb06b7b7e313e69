"""The shipped experiments learn: several seeds each, to the score they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

import experiments

QUIET = ["track.wandb=off", "track.tensorboard=false", "track.console=none"]


@pytest.mark.alone
@pytest.mark.learning
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("config", ["impala/cartpole.yaml", "a3c/cartpole.yaml"])
def test_cartpole_is_solved(tmp_path: Path, repo_root: Path, config: str, seed: int):
    """Within its steps, however busy the machine is; in under two minutes if it is not."""
    file = repo_root / "experiments" / "configs" / config
    run = experiments.run(file, [*QUIET, f"seed={seed}", "stop.wall_time="], out=tmp_path)
    assert run.evaluations()[-1]["eval/return_mean"] >= 475
    assert run.metrics()[-1]["time/wall_s"] < 120
