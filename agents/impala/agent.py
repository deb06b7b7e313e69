"""IMPALA as an agent: what actors do with the policy, what the learner minimises."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from agents.impala.config import ImpalaConfig
from agents.impala.losses import impala_loss
from rlcore.data.env_spec import BoxActions, DiscreteActions, EnvSpec
from rlcore.data.spec import ArraySpec, Field
from rlcore.errors import ConfigError
from rlcore.learners.base import Batch, LossOutput
from rlcore.nn.actor_critic import ActorCritic
from rlcore.ops.policy_loss.schedule import linear
from rlcore.runtime.contracts import State, Step


class ImpalaAgent:
    """Actor-critic whose targets are corrected for the lag between acting and learning.

    Args:
        config: Settings.
        env_spec: Observations and actions of the environment.

    Raises:
        ConfigError: The network does not fit the observations or actions.
    """

    def __init__(self, config: ImpalaConfig, env_spec: EnvSpec) -> None:
        self.config = config
        self.env_spec = env_spec
        self.unroll = config.unroll
        self.reduction: str = config.reduction
        self.reward_clip = config.reward_clip
        with torch.device("meta"):
            self.build_network()  # raises now, before any process starts

    def spec(self) -> ArraySpec:
        """Return the behaviour log-probability and the core state at the fragment's start."""
        cores = {
            f"core_{i}": Field((size,), "float32", "initial")
            for i, size in enumerate(self.config.network.core_sizes)
        }
        return {"log_mu": Field((), "float32"), **cores}

    def build_network(self) -> ActorCritic:
        """Return a fresh network; its weights come from torch's global generator."""
        env, actions = self.env_spec, self.env_spec.actions
        if not isinstance(actions, DiscreteActions | BoxActions):
            raise ConfigError(f"actions must be discrete or a box, got {actions!r}")
        num_actions = actions.n if isinstance(actions, DiscreteActions) else None
        return ActorCritic(self.config.network, env.obs_shape, num_actions, env.action_shape)

    def initial_state(self, network: nn.Module, envs: int) -> State:
        """Return the zero core state of ``envs`` environments; empty without an LSTM."""
        return cast(ActorCritic, network).initial_state(envs)

    def act(
        self,
        network: nn.Module,
        obs: Tensor,
        state: State,
        generator: torch.Generator,
        deterministic: bool = False,
    ) -> Step:
        """Sample actions for ``[E, ...]`` observations (or take the most probable ones)."""
        action, log_mu, state = cast(ActorCritic, network).act(obs, state, generator, deterministic)
        return Step(action, state, {"log_mu": log_mu})

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return the IMPALA loss of a batch; see :func:`agents.impala.losses.impala_loss`.

        ``batch["progress"]`` anneals the entropy bonus; ``batch["metrics"]`` (default true) says
        whether importance and explained-variance metrics are wanted.
        """
        config, net = self.config, cast(ActorCritic, network)
        fragment = net.evaluate(batch)
        log_pi, entropy = net.head.log_prob_and_entropy(fragment.outputs, batch["action"])
        rewards = batch["reward"].to(fragment.values.dtype)
        if self.reward_clip is not None:
            rewards = rewards.clamp(-self.reward_clip, self.reward_clip)
        return impala_loss(
            log_pi,
            entropy,
            batch["log_mu"],
            fragment.values,
            fragment.next_values,
            rewards,
            batch["terminated"],
            batch["truncated"],
            batch["valid"],
            gamma=config.gamma,
            entropy_coef=linear(
                config.entropy_coef, config.entropy_coef_end, batch.get("progress", 0.0)
            ),
            value_coef=config.value_coef,
            rho_bar=config.rho_bar,
            c_bar=config.c_bar,
            lam=config.lam,
            rho_pg_bar=config.rho_pg_bar,
            correction=config.correction,
            normalize_advantages=config.normalize_advantages,
            metrics=bool(batch.get("metrics", True)),
        )
