"""What the runtime asks of an agent.

An agent says what an actor does with a policy (``act``) and what a learner minimises (``loss``).
It knows nothing of processes, rings or versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from rlcore.data.spec import ArraySpec
from rlcore.learners.base import Batch, LossOutput

State = tuple[Tensor, ...]
"""Recurrent core state, each tensor ``[E, ...]``; the empty tuple for feed-forward networks."""


@dataclass(slots=True)
class Step:
    """What acting once on ``E`` environments gives.

    Attributes:
        action: ``[E]`` int64 for discrete actions, ``[E, A]`` float32 for continuous ones.
        state: Core state after the step.
        extras: Further per-step arrays by field name, at least ``log_mu`` ``[E]`` float32, the
            behaviour log-probability of ``action``.
    """

    action: Tensor
    state: State
    extras: dict[str, Tensor]


class Agent(Protocol):
    """One algorithm: the same object acts in actors and trains in the learner."""

    unroll: int
    """Steps ``T`` in a fragment."""

    reduction: str
    """``"mean"`` or ``"sum"``: whether the learner scales the mean loss by its weight."""

    def spec(self) -> ArraySpec:
        """Return the arrays of a fragment that this agent adds to the runtime's own fields."""
        ...

    def build_network(self) -> nn.Module:
        """Return a fresh network; its weights come from torch's global generator."""
        ...

    def initial_state(self, network: nn.Module, envs: int) -> State:
        """Return the core state at an episode's start for ``envs`` environments."""
        ...

    def act(
        self,
        network: nn.Module,
        obs: Tensor,
        state: State,
        generator: torch.Generator,
        deterministic: bool = False,
    ) -> Step:
        """Choose actions for observations ``[E, *obs_shape]`` in their native dtype."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return the loss of a time-major batch; pure in (parameters, buffers, batch)."""
        ...
