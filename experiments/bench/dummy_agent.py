"""The agent of :mod:`experiments.bench.dummy`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rlcore.data.spec import ArraySpec, Field
from rlcore.learners.base import Batch, LossOutput
from rlcore.runtime.contracts import State, Step


class _OneNumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))


class DummyAgent:
    """Uniform actions; the loss reads every byte of every observation and trains one number."""

    reduction = "mean"

    def __init__(self, unroll: int, actions: int) -> None:
        self.unroll = unroll
        self.actions = actions

    def spec(self) -> ArraySpec:
        """Return the behaviour log-probability."""
        return {"log_mu": Field((), "float32")}

    def build_network(self) -> nn.Module:
        """Return a network of one parameter."""
        return _OneNumber()

    def initial_state(self, network: nn.Module, envs: int) -> State:
        """Return no state."""
        return ()

    def act(
        self,
        network: nn.Module,
        obs: Tensor,
        state: State,
        generator: torch.Generator,
        deterministic: bool = False,
    ) -> Step:
        """Draw uniform actions."""
        action = torch.randint(self.actions, (len(obs),), generator=generator)
        log_mu = torch.full((len(obs),), -math.log(self.actions))
        return Step(action, state, {"log_mu": log_mu})

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return a loss that depends on the observations, so that they must be read."""
        obs = batch["obs"]
        words = obs.reshape(-1).view(torch.int64) if obs.dtype == torch.uint8 else obs
        level = (words.sum() % 255).float() / 255.0
        loss = ((network.bias - level) ** 2).mean()
        return LossOutput(loss, batch["valid"].sum().float())
