"""The actor-critic network: trunk(s), action head and value head; acting and evaluating batches.

Shapes: ``T`` time, ``B`` batch, ``E`` environments, ``P`` outputs of the action head, ``H`` cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.nn.config import NetworkConfig
from rlcore.nn.heads import CategoricalHead, GaussianHead, build_head
from rlcore.nn.init import initialize
from rlcore.nn.recurrent import LSTMCore
from rlcore.nn.torsos import build_torso

CoreState = tuple[Tensor, ...]


@dataclass(slots=True)
class Evaluation:
    """What the network says of a fragment.

    Attributes:
        outputs: ``[T, B, P]``, outputs of the action head.
        values: ``[T, B]``, ``V(x_t)``.
        next_values: ``[T, B]``, value of the state that step ``t`` led to, without gradient: 0
            where terminated, ``V(final_obs_t)`` where autoreset replaced the observation at a
            truncation, else ``V(x_{t+1})``.
    """

    outputs: Tensor
    values: Tensor
    next_values: Tensor


class Trunk(nn.Module):
    """Torso and, with ``config.lstm``, a recurrent core."""

    def __init__(self, config: NetworkConfig, obs_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.torso = build_torso(config, obs_shape)
        self.core = None if config.lstm is None else LSTMCore(self.torso.features, config.lstm)
        self.features = self.torso.features if config.lstm is None else config.lstm

    def forward(self, obs: Tensor, first: Tensor, state: CoreState) -> tuple[Tensor, CoreState]:
        """Return features ``[T, B, D]`` and the core states after each row, ``[T, B, H]``."""
        x = self.torso(obs.flatten(0, 1)).unflatten(0, obs.shape[:2])
        if self.core is None:
            return x, ()
        h, c = self.core(x, first, (state[0], state[1]))
        return h, (h, c)

    def step(self, obs: Tensor, state: CoreState) -> tuple[Tensor, CoreState]:
        """Return features ``[N, D]`` of single observations and the core state after them."""
        x = self.torso(obs)
        if self.core is None:
            return x, ()
        h, c = self.core.step(x, (state[0], state[1]))
        return h, (h, c)


class ActorCritic(nn.Module):
    """Policy and value of an observation.

    Args:
        config: The network's settings.
        obs_shape: Shape of one observation as stored.
        num_actions: Size of a discrete action set; ``None`` for continuous actions.
        action_shape: Shape of one stored action.

    Raises:
        ConfigError: The settings do not fit the observations or actions.
    """

    def __init__(
        self,
        config: NetworkConfig,
        obs_shape: tuple[int, ...],
        num_actions: int | None,
        action_shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.core_sizes = config.core_sizes
        self.trunk = Trunk(config, obs_shape)
        self.value_trunk = None if config.shared_trunk else Trunk(config, obs_shape)
        features = self.trunk.features
        self.head: CategoricalHead | GaussianHead = build_head(
            config, features, num_actions, action_shape
        )
        self.value = nn.Linear(features, 1)
        initialize(self.value, config.init, gain=1.0)

    def initial_state(self, envs: int) -> CoreState:
        """Return the zero state of an episode's start, each tensor ``[E, H]``."""
        like = self.value.weight
        return tuple(like.new_zeros(envs, size) for size in self.core_sizes)

    def act(
        self, obs: Tensor, state: CoreState, generator: torch.Generator, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, CoreState]:
        """Choose actions for ``E`` observations.

        Returns:
            ``(action, log_prob, state)``, the state after the step.
        """
        features, after = self.trunk.step(obs, state[:2])
        if self.value_trunk is not None and self.value_trunk.core is not None:
            after += self.value_trunk.step(obs, state[2:])[1]
        outputs = self.head.linear(features)
        if deterministic:
            action, log_prob = self.head.mode(outputs)
        else:
            action, log_prob = self.head.sample(outputs, generator)
        return action, log_prob, after

    def forward(
        self, obs: Tensor, first: Tensor, state: CoreState
    ) -> tuple[Tensor, Tensor, CoreState]:
        """Unroll over observations ``[T, B, ...]``.

        Args:
            obs: Observations in their stored dtype.
            first: ``[T, B]`` bool; the recurrent state is zeroed before these rows.
            state: Core state before row 0, each tensor ``[B, H]``; empty without memory.

        Returns:
            ``(outputs [T, B, P], values [T, B], states)``, the value trunk's core states after
            each row, ``[T, B, H]``.
        """
        features, states = self.trunk(obs, first, state[:2])
        if self.value_trunk is not None:
            outputs = self.head.linear(features)
            features, states = self.value_trunk(obs, first, state[2:])
            return outputs, self.value(features).squeeze(-1), states
        # One matrix product for both heads: one pass over the features, forwards and backwards.
        weight = torch.cat([self.head.linear.weight, self.value.weight])
        bias = torch.cat([self.head.linear.bias, self.value.bias])
        both = F.linear(features, weight, bias)
        return both[..., :-1], both[..., -1], states

    def evaluate(self, batch: Mapping[str, Any]) -> Evaluation:
        """Evaluate a time-major batch; see :mod:`rlcore.data.fragment` for its fields.

        Policy and values come from one pass over the ``T + 1`` rows of ``obs``.
        """
        state = tuple(
            batch[f"core_{i}"].to(self.value.weight.dtype) for i in range(len(self.core_sizes))
        )
        outputs, values, states = self(batch["obs"], batch["first"], state)
        next_values = values[1:].detach().clone()
        if len(batch["final_row"]):
            next_values.view(-1)[batch["final_row"]] = self._final_values(batch, states)
        next_values.masked_fill_(batch["terminated"], 0.0)
        return Evaluation(outputs[:-1], values[:-1], next_values)

    @torch.no_grad()
    def _final_values(self, batch: Mapping[str, Any], states: CoreState) -> Tensor:
        """Return ``V(final_obs)``, continuing from the core state after the step that led to it."""
        rows = batch["final_row"]
        state = tuple(part.flatten(0, 1)[rows] for part in states)
        trunk = self.trunk if self.value_trunk is None else self.value_trunk
        features, _ = trunk.step(batch["final_obs"], state)
        out: Tensor = self.value(features).squeeze(-1)
        return out
