"""A small agent and its parts for runtime tests: a linear actor-critic on CartPole.

Children import this module by name, so tests put this folder on ``sys.path`` first.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from rlcore.data.spec import Field
from rlcore.learners.base import LossOutput
from rlcore.learners.config import LearnerConfig, RMSPropConfig
from rlcore.runtime.contracts import Step
from rlcore.runtime.env_stream import open_stream


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
    """One-step actor-critic; ``poison`` makes the loss NaN from that call on."""

    reduction = "mean"

    def __init__(self, obs: int, actions: int, unroll: int, poison: int | None = None) -> None:
        self.obs, self.actions, self.unroll = obs, actions, unroll
        self.poison, self.calls = poison, 0

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
        return Step(action, state, {"log_mu": log_mu})

    def loss(self, network, batch):
        self.calls += 1
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
    """Parts of a CartPole run; ``config`` may carry knobs for faults."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.learner = LearnerConfig(optimizer=RMSPropConfig(lr=0.05, eps=1e-3, g_init=0.0), max_grad_norm=1.0)
        stream = self.make_stream(0, "probe")
        self.env_spec = stream.spec
        stream.close()
        self.agent = ToyAgent(4, 2, config["unroll"], config.get("poison"))

    def make_stream(self, index: int, label: str) -> Any:
        import gymnasium

        env_id = self.config.get("env", "CartPole-v1")
        if self.config.get("vector", True):
            made = gymnasium.make_vec(
                env_id, self.config["envs"], vectorization_mode="vector_entry_point"
            )
        else:
            made = [
                gymnasium.make(env_id, disable_env_checker=True)
                for _ in range(self.config["envs"])
            ]
        stream = open_stream(made, env_id=env_id, label=label)
        fault = self.config.get("fault")
        return FaultyStream(stream, fault, label) if fault and label != "probe" else stream

    def make_learner(self, network: nn.Module, **options: Any) -> Any:
        return self.learner.build(network, reduction=self.agent.reduction, **options)


class FaultyStream:
    """Passes everything on, and misbehaves once (per marker file) in one actor at one step."""

    def __init__(self, stream: Any, fault: dict[str, Any], label: str) -> None:
        self._stream, self._fault, self._label, self._steps = stream, fault, label, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def step(self, actions: np.ndarray, row: Any) -> Any:
        self._steps += 1
        fault = self._fault
        if fault["actor"] in (self._label, "any") and self._steps == fault["step"]:
            self._misbehave(fault)
        return self._stream.step(actions, row)

    def _misbehave(self, fault: dict[str, Any]) -> None:
        marker = fault.get("marker")
        if marker and os.path.exists(marker):
            return
        if marker:
            open(marker, "w").close()
        if fault["kind"] == "raise":
            raise ValueError("planted failure")
        if fault["kind"] == "exit":
            os._exit(3)
        if fault["kind"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["kind"] == "hang":
            time.sleep(1000)


def build(config: dict[str, Any]) -> ToyParts:
    return ToyParts(config)
