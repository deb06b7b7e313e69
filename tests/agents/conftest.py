"""Batches for agent tests, laid out by hand from lists of transitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.a3c.config import A3CConfig
from agents.impala.config import ImpalaConfig
from rlcore.data.env_spec import BoxActions, DiscreteActions, EnvSpec
from rlcore.nn.config import NetworkConfig

F64 = torch.float64
Batch = dict[str, Any]


@pytest.fixture
def env_spec() -> EnvSpec:
    return EnvSpec((4,), "float32", DiscreteActions(3), env_id="Test-v0")


@pytest.fixture
def box_spec() -> EnvSpec:
    return EnvSpec((4,), "float32", BoxActions((2,), (-1.0, -1.0), (1.0, 1.0)), env_id="Box-v0")


@pytest.fixture(params=["a3c", "a3c-gae", "impala"])
def config(request: pytest.FixtureRequest) -> A3CConfig | ImpalaConfig:
    """One configuration of each agent, with settings that keep every term in play."""
    network = NetworkConfig(hidden=(8,))
    if request.param == "impala":
        return ImpalaConfig(
            gamma=0.9, lam=0.9, rho_bar=1.5, c_bar=1.1, rho_pg_bar=1.3, network=network
        )
    lam = 0.8 if request.param == "a3c-gae" else None
    return A3CConfig(gamma=0.9, gae_lambda=lam, network=network)


@pytest.fixture
def perturbed() -> Callable[[Any], nn.Module]:
    """Build a float64 network whose weights are far from their initial values."""

    def build(agent: Any, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        network = agent.build_network().double()
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.3 * torch.randn_like(p))
        return network

    return build


@pytest.fixture
def random_batch() -> Callable[..., Batch]:
    """Return a batch with both kinds of ends, in SAME_STEP layout, all rows valid."""

    def build(agent: Any, steps: int = 7, envs: int = 5, seed: int = 0) -> Batch:
        g = torch.Generator().manual_seed(seed)

        def randn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=F64)

        terminated = torch.rand(steps, envs, generator=g) < 0.15
        truncated = (torch.rand(steps, envs, generator=g) < 0.15) & ~terminated
        first = torch.zeros(steps + 1, envs, dtype=torch.bool)
        first[1:] = terminated | truncated
        final_row = truncated.flatten().nonzero().flatten()
        discrete = isinstance(agent.env_spec.actions, DiscreteActions)
        action = torch.randint(3, (steps, envs), generator=g) if discrete else randn(steps, envs, 2)
        batch = {
            "obs": randn(steps + 1, envs, 4),
            "first": first,
            "action": action,
            "reward": randn(steps, envs),
            "terminated": terminated,
            "truncated": truncated,
            "valid": torch.ones(steps, envs, dtype=torch.bool),
            "version": torch.zeros(steps, envs, dtype=torch.int64),
            "log_mu": -1.1 + 0.5 * randn(steps, envs),
            "final_obs": randn(len(final_row), 4),
            "final_row": final_row,
            "progress": 0.0,
        }
        for i, size in enumerate(agent.config.network.core_sizes):
            batch[f"core_{i}"] = randn(envs, size)
        return batch

    return build


@pytest.fixture
def loss_and_gradients() -> Callable[..., tuple[Tensor, list[Tensor]]]:
    def run(agent: Any, network: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        loss = agent.loss(network, batch).loss
        return loss.detach(), list(torch.autograd.grad(loss, list(network.parameters())))

    return run
