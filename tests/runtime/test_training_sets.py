"""What a batch holds, checked row by row on an environment that counts its own steps.

The third entry of an observation is the step of its episode, so that every transition shows whether
its own successor stands beside it: in ``obs[t + 1]``, or in ``final_obs`` where autoreset has
replaced it. In ``serial`` the learner's policy is the one that acted, which shows whether stored
recurrent states are the ones that were used.
"""

from __future__ import annotations

import pytest
import torch

import experiments
from agents.impala.agent import ImpalaAgent

STEP = 2
SCHEDULE = [[3, "truncated"], [5, "terminated"], [2, "both"], [2, "truncated"], [1, "truncated"]]


def config(form: str) -> dict:
    return {
        "name": "sets",
        "env": {
            "id": "testing/counting-v0",
            "module": "envs",
            "num_envs": 6,
            "kwargs": {"schedule": SCHEDULE},
            "vectorization": form,
        },
        "agent": {"type": "impala", "unroll": 7, "network": {"hidden": [8], "lstm": 5}},
        "learner": {"optimizer": {"type": "sgd", "lr": 0.05}},
        "runtime": {"placement": "inline", "schedule": "serial", "streams": 2},
        "stop": {"updates": 12},
        "eval": {"episodes": 0},
        "track": {"wandb": "off", "tensorboard": False, "console": "none"},
    }


class Examiner:
    """Looks at every batch before it is trained on."""

    def __init__(self) -> None:
        self.truncations = self.replaced = self.inner = self.valid = self.rows = 0
        self.off_policy = 0.0
        self.cores = 0

    def look(self, network, batch) -> None:
        self.check_log_probs(network, batch)
        self.valid += int(batch["valid"].sum())
        self.rows += batch["valid"].numel()
        finals = dict(zip(batch["final_row"].tolist(), batch["final_obs"], strict=True))
        assert len(finals) == len(batch["final_row"])
        steps, width = batch["reward"].shape
        for t in range(steps):
            for b in range(width):
                if batch["valid"][t, b]:
                    self.check_row(batch, t, b, finals.get(t * width + b))

    def check_log_probs(self, network, batch) -> None:
        with torch.no_grad():
            forward = network.evaluate(batch)
            log_pi, _ = network.head.log_prob_and_entropy(forward.outputs, batch["action"])
        apart = (log_pi - batch["log_mu"])[batch["valid"]].abs().max()
        self.off_policy = max(self.off_policy, float(apart))
        self.cores += int(batch["core_0"].abs().sum(-1).gt(1e-3).sum())

    def check_row(self, batch, t, b, final) -> None:
        after = batch["obs"][t, b].clone()
        after[STEP] += 1
        if batch["first"][t, b]:
            assert batch["obs"][t, b][STEP] == 0
        terminated, truncated = bool(batch["terminated"][t, b]), bool(batch["truncated"][t, b])
        if truncated and not terminated:
            self.truncations += 1
            self.replaced += final is not None
            assert torch.equal(batch["obs"][t + 1, b] if final is None else final, after)
        elif not terminated:
            self.inner += 1
            assert torch.equal(batch["obs"][t + 1, b], after)


@pytest.mark.parametrize("form", ["native", "sync"])
@pytest.mark.parametrize("places", ["all", "few"])
def test_every_transition_has_its_successor_and_its_recurrent_state(
    form, places, monkeypatch, tmp_path
):
    if places == "few":  # SAME_STEP streams run out of places for final observations and pad
        monkeypatch.setattr("rlcore.runtime.plan.MAX_FULL_FINAL_OBS_BYTES", 0)
    examiner, honest = Examiner(), ImpalaAgent.loss

    def loss(self, network, batch):
        examiner.look(network, batch)
        return honest(self, network, batch)

    monkeypatch.setattr(ImpalaAgent, "loss", loss)
    run = experiments.run(config(form), out=tmp_path)
    last = run.metrics()[-1]
    assert examiner.truncations >= 50
    assert examiner.inner >= 200
    assert examiner.replaced == (0 if form == "native" else examiner.truncations)
    assert examiner.off_policy < 1e-5
    assert examiner.cores > 12
    assert examiner.valid == last["step/env"]
    padded = examiner.rows - examiner.valid if form == "sync" else 0
    assert last["runtime/rows_padded"] == padded
    assert (padded > 0) == (form == "sync" and places == "few")
