"""Real agents through real experiments: resume, lockstep and the smallest task there is."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.registry import components, find
from experiments.runner import resume
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.tracking.metrics import check_record

AGENTS = sorted(
    name
    for name in set(components("agent")) - {"dummy"}
    if getattr(find("agent", name), "reads", "env") == "env"
)
"""Agents that learn from environments; tests/agents/lm has the others."""
OPTIMIZERS = sorted(components("optimizer"))


def settings(agent: str, optimizer: str = "rmsprop", **network: Any) -> dict[str, Any]:
    return {
        "name": "exact",
        "env": {"id": "CartPole-v1", "num_envs": 8},
        "agent": {"type": agent, "unroll": 8, "network": {"hidden": [16], **network}},
        "learner": {"optimizer": {"type": optimizer, "lr": 0.01}},
        "runtime": {"placement": "inline", "schedule": "serial"},
        "stop": {"updates": 14},
        "eval": {"episodes": 0},
        "track": {"wandb": "off", "tensorboard": False, "console": "none"},
    }


def parameters(run: Any) -> str:
    checkpoint = Checkpointer(run.path / "checkpoints").load("latest")
    newest = checkpoint.state["version"] - checkpoint.state["oldest_version"]
    digest = hashlib.sha256()
    for _, tensor in sorted(checkpoint.tensors[f"params-{newest}"].items()):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("agent", "optimizer", "lstm"),
    [
        *((a, o, None) for a, o in itertools.product(AGENTS, OPTIMIZERS)),
        *((a, "adam", 8) for a in AGENTS),
    ],
)
def test_resume_equals_the_straight_run(tmp_path: Path, agent, optimizer, lstm):
    config = settings(agent, optimizer, lstm=lstm)
    straight = experiments.run(config, out=tmp_path)
    broken = experiments.run(config, ["stop.updates=6"], out=tmp_path)
    assert parameters(broken) != parameters(straight)
    assert parameters(resume(broken.path, ["stop.updates=14"])) == parameters(straight)


@pytest.mark.parametrize("lstm", [pytest.param(None, marks=pytest.mark.slow), 8])
def test_lockstep_is_the_same_for_1_2_and_4_actors(tmp_path: Path, lstm):
    config = settings("impala", lstm=lstm)
    config["runtime"] = {"placement": "local", "schedule": "lockstep"}
    hashes = {
        parameters(experiments.run(config, [f"runtime.actors={n}"], out=tmp_path))
        for n in (1, 2, 4)
    }
    assert len(hashes) == 1


def test_async_at_lag_0_is_serial(tmp_path: Path):
    config = settings("impala")
    serial = experiments.run(config, out=tmp_path)
    asynchronous = experiments.run(
        config,
        ["runtime.placement=local", "runtime.schedule=async", "runtime.max_lag=0"],
        out=tmp_path,
    )
    assert parameters(asynchronous) == parameters(serial)


@pytest.mark.parametrize(
    ("agent", "schedule", "placement"),
    [("a3c", "hogwild", "local"), ("a3c", "serial", "inline"), ("impala", "async", "local")],
)
def test_a_reward_paid_only_at_the_end_is_learnt(tmp_path: Path, agent, schedule, placement):
    """One-step episodes that pay +1 at termination: a lost last reward would teach nothing."""
    config = settings(agent)
    config["env"] = {"id": "testing/one-step-v0", "num_envs": 8, "module": "envs"}
    config["agent"] |= {"unroll": 5, "entropy_coef": 0.0}
    config["learner"] = {"optimizer": {"type": "adam", "lr": 0.02}}
    config["runtime"] = {"placement": placement, "schedule": schedule, "actors": 1}
    config["stop"] = {"env_steps": 2000}
    run = experiments.run(config, out=tmp_path)
    assert run.evaluate(100, deterministic=False)["eval/return_mean"] > 0.99
    records = run.metrics()
    for record in records:
        check_record(record)
    assert set().union(*records) >= REPORTED


REPORTED = {
    "episode/return_mean", "episode/length_mean", "loss/policy", "loss/value", "policy/entropy",
    "policy/kl", "value/explained_variance", "optim/grad_norm", "optim/clip_frac", "optim/lr",
    "lag/mean", "lag/max", "is/ratio_mean", "is/ratio_max", "is/ess", "step/frames",
    "perf/env_steps_per_s", "perf/updates_per_s", "fault/restarts", "fault/healthy",
    "fault/nonfinite", "checkpoint/seconds",
}  # fmt: skip
"""What every agent reports under every schedule, as the page of metrics promises."""
