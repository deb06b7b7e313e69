"""L1: a non-finite loss or gradient changes no parameter and is counted; several in a row stop."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

import experiments
from agents.a3c.agent import A3CAgent
from agents.impala.agent import ImpalaAgent
from rlcore.errors import NonFiniteError
from rlcore.runtime.checkpoint import Checkpointer

BAD = {
    "loss": lambda output, network: output.loss * math.nan,
    "gradient": lambda output, network: (
        output.loss + 0.0 * (0.0 * next(network.parameters()).sum()).sqrt()
    ),
}


def settings(batches: int) -> dict:
    return {
        "name": "bad",
        "env": {"id": "CartPole-v1", "num_envs": 4},
        "agent": {"type": "impala", "unroll": 8, "network": {"hidden": [16]}},
        "learner": {"optimizer": {"type": "adam", "lr": 0.01}},
        "runtime": {"placement": "inline", "schedule": "serial"},
        "stop": {"env_steps": batches * 4 * 8},
        "eval": {"episodes": 1},
        "track": {"wandb": "off", "tensorboard": False, "console": "none"},
    }


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch):
    """Make chosen calls of the loss bad; keep the parameters that each call saw."""

    def plant(kind: str, calls) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        for agent in (ImpalaAgent, A3CAgent):
            loss = agent.loss

            def spoiled(self, network, batch, loss=loss):
                output = loss(self, network, batch)
                seen.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
                if len(seen) in calls:
                    output.loss = BAD[kind](output, network)
                return output

            monkeypatch.setattr(agent, "loss", spoiled)
        return seen

    return plant


@pytest.mark.parametrize("kind", BAD)
def test_bad_updates_change_nothing_and_are_counted(kind: str, spoil, tmp_path: Path) -> None:
    seen = spoil(kind, {3, 4, 9})
    run = experiments.run(settings(10), out=tmp_path)
    assert run.state == "finished"
    last = [record for record in run.metrics() if "fault/nonfinite" in record][-1]
    assert len(seen) >= 10
    assert (last["step/update"], last["fault/nonfinite"]) == (len(seen) - 3, 3)
    same = [i for i, (a, b) in enumerate(itertools.pairwise(seen), 1) if torch.equal(a, b)]
    assert same == [3, 4, 9]
    totals = Checkpointer(run.path / "checkpoints").load("latest").state["totals"]
    assert 0 < totals["env_steps"] - totals["trained_steps"] <= 3 * 4 * 8


def test_five_in_a_row_stop_the_run_and_leave_the_last_good_parameters(
    spoil, tmp_path: Path
) -> None:
    seen = spoil("loss", range(4, 100))
    with pytest.raises(NonFiniteError, match=r"the loss is not finite \(5 updates in a row"):
        experiments.run(settings(50), out=tmp_path)
    assert len(seen) == 8
    assert all(torch.equal(later, seen[3]) for later in seen[4:])
    (folder,) = (path for path in tmp_path.iterdir() if not path.is_symlink())
    checkpoint = Checkpointer(folder / "checkpoints").load("latest")
    newest = checkpoint.state["version"] - checkpoint.state["oldest_version"]
    for name, value in checkpoint.tensors[f"params-{newest}"].items():
        assert bool(value.isfinite().all()), name
