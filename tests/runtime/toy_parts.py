"""A small agent and its parts for runtime tests: a linear actor-critic on CartPole.

Children import this module by name, so tests put this folder on ``sys.path`` first.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from rlcore.data.spec import Field
from rlcore.errors import EnvContractError, NonFiniteError
from rlcore.learners.base import LossOutput
from rlcore.learners.config import (
    AdamConfig,
    AdamWConfig,
    LearnerConfig,
    RMSPropConfig,
    SGDConfig,
)
from rlcore.runtime.contracts import Step
from rlcore.runtime.env_stream import open_stream
from rlcore.runtime.env_tree import EnvStateUnavailable


class ToyNetwork(nn.Module):
    def __init__(self, obs: int, actions: int) -> None:
        super().__init__()
        self.body = nn.Linear(obs, 16)
        self.policy = nn.Linear(16, actions)
        self.value = nn.Linear(16, 1)

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.body(obs).tanh()
        return self.policy(hidden), self.value(hidden).squeeze(-1)


class ToyAgent:
    """One-step actor-critic on a CartPole; ``config`` may carry knobs.

    ``poison`` makes the loss NaN from that call on, ``slow_s`` makes it slow, ``ledger`` names a
    file that every update is noted in, ``nan_log_mu`` spoils what acting reports.
    """

    reduction = "mean"

    def __init__(self, obs: int, actions: int, config: dict[str, Any]) -> None:
        self.obs, self.actions, self.unroll = obs, actions, config["unroll"]
        self.poison, self.calls = config.get("poison"), 0
        self.ledger, self.slow_s = config.get("ledger"), config.get("slow_s", 0.0)
        self.envs, self.nan_log_mu = config["envs"], config.get("nan_log_mu", False)

    def spec(self) -> dict[str, Field]:
        return {"log_mu": Field((), "float32")}

    def build_network(self) -> nn.Module:
        return ToyNetwork(self.obs, self.actions)

    def initial_state(self, network, envs):
        return ()

    def act(self, network, obs, state, generator, deterministic=False):
        logits, _ = network(obs)
        log_probs = logits.log_softmax(-1)
        uniform = torch.rand(len(obs), 1, generator=generator)
        action = (log_probs.exp().cumsum(-1) < uniform).sum(-1).clamp_max(self.actions - 1)
        log_mu = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        if self.nan_log_mu:
            log_mu[1] = float("nan")
        return Step(action, state, {"log_mu": log_mu})

    def write_ledger(self, batch):
        """Note what an update trains on: versions, and the rewards of each stream's first env."""
        line = {
            "versions": [int(batch["version"].min()), int(batch["version"].max())],
            "rewards": batch["reward"][:, :: self.envs].T.tolist(),
            "steps": int(batch["valid"].sum()),
        }
        with open(self.ledger, "a") as file:
            file.write(json.dumps(line) + "\n")

    def loss(self, network, batch):
        self.calls += 1
        if self.ledger:
            self.write_ledger(batch)
        time.sleep(self.slow_s)
        logits, values = network(batch["obs"])
        valid = batch["valid"].float()
        not_end = 1.0 - batch["terminated"].float()
        target = batch["reward"] + 0.99 * not_end * values[1:].detach()
        advantage = target - values[:-1]
        log_prob = logits[:-1].log_softmax(-1).gather(-1, batch["action"].unsqueeze(-1))[..., 0]
        each = -log_prob * advantage.detach() + 0.5 * advantage.square()
        weight = valid.sum()
        loss = (each * valid).sum() / weight.clamp_min(1.0)
        if self.poison is not None and self.calls > self.poison:
            loss = loss * float("nan")
        return LossOutput(loss, weight, {"loss/policy": loss.detach()})


class ToyParts:
    """Parts of a CartPole run; ``config`` may carry knobs for faults.

    ``slow_start_s`` is how long a player's environments take to be made.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        optimizer = OPTIMIZERS[config.get("optimizer", "rmsprop")]
        self.learner = LearnerConfig(optimizer=optimizer, max_grad_norm=1.0)
        stream = self.make_stream(0, "probe")
        self.env_spec = stream.spec
        self.rows = self.validation = None
        stream.close()
        self.agent = ToyAgent(4, 2, config)

    def make_stream(self, index: int, label: str) -> Any:
        import gymnasium

        if label != "probe":
            time.sleep(self.config.get("slow_start_s", 0.0))
        env_id = self.config.get("env", "CartPole-v1")
        if self.config.get("vector", True):
            made = gymnasium.make_vec(
                env_id, self.config["envs"], vectorization_mode="vector_entry_point"
            )
        else:
            made = [
                gymnasium.make(env_id, disable_env_checker=True) for _ in range(self.config["envs"])
            ]
        stream = open_stream(made, env_id=env_id, label=label)
        stamps, fault = self.config.get("stamps"), self.config.get("fault")
        if stamps and label != "probe":
            stream = StampedStream(stream, stamps)
        return FaultyStream(stream, fault, label) if fault and label != "probe" else stream

    def make_learner(self, network: nn.Module, **options: Any) -> Any:
        return self.learner.build(network, reduction=self.agent.reduction, **options)


PLANTED = {
    "raise": ValueError("planted failure"),
    "contract": EnvContractError("planted breach"),
    "nan": NonFiniteError("planted NaN"),
}


class FaultyStream:
    """Passes everything on, and misbehaves once (per marker file) in one actor at one step."""

    def __init__(self, stream: Any, fault: dict[str, Any], label: str) -> None:
        self._stream, self._fault, self._label, self._steps = stream, fault, label, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def step(self, actions: np.ndarray, row: Any) -> Any:
        self._steps += 1
        fault = self._fault
        here = fault["actor"] in (self._label, "any")
        if here and self._steps == fault["step"]:
            self._misbehave(fault)
        finals = self._stream.step(actions, row)
        if here and fault["kind"] == "nan_reward" and self._steps in fault["steps"]:
            row.reward[1] = float("nan")  # past the check at the boundary
        return finals

    def get_state(self) -> Any:
        if self._fault["kind"] == "stateless":
            raise EnvStateUnavailable("the environment gives no state")
        return self._stream.get_state()

    def _misbehave(self, fault: dict[str, Any]) -> None:
        marker = fault.get("marker")
        if marker:
            try:
                open(marker, "x").close()  # one actor alone makes it, however close they are
            except FileExistsError:
                return
        if fault["kind"] in PLANTED:
            raise PLANTED[fault["kind"]]
        if fault["kind"] == "exit":
            os._exit(3)
        if fault["kind"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["kind"] == "hang":
            time.sleep(1000)


class StampedStream:
    """Gives every step of every start of a stream a reward that no other step has.

    ``folder`` holds a file for each start, as long as the number of steps taken since.
    """

    STEPS, STARTS = 1 << 16, 1 << 8  # float32 holds their product

    def __init__(self, stream: Any, folder: str) -> None:
        self._stream, self._steps = stream, 0
        for token in range(self.STARTS):
            try:
                self._file = os.open(f"{folder}/{token}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            self._token = token
            return
        raise RuntimeError("no stamp left")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def step(self, actions: np.ndarray, row: Any) -> Any:
        if self._steps >= self.STEPS:
            raise RuntimeError("no stamp left")
        finals = self._stream.step(actions, row)
        row.reward[:] = self._token * self.STEPS + self._steps
        self._steps += 1
        os.write(self._file, b".")
        return finals


OPTIMIZERS: dict[str, Any] = {
    "sgd": SGDConfig(lr=0.05, momentum=0.9),
    "adam": AdamConfig(lr=0.01),
    "adamw": AdamWConfig(lr=0.01),
    "rmsprop": RMSPropConfig(lr=0.05, eps=1e-3, g_init=0.0),
}


def build(config: dict[str, Any]) -> ToyParts:
    return ToyParts(config)
