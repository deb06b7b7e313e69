"""What the runtime asks of an agent.

An agent says what an actor does with a policy (``act``) and what a learner minimises (``loss``).
It knows nothing of processes, rings or versions. Agents that learn from a data set do not act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rlcore.data.spec import ArraySpec, Field
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


class Learns(Protocol):
    """The half of an algorithm that the learner needs."""

    unroll: int
    """Steps ``T`` in a fragment; 1 where it is rows of a data set."""

    reduction: str
    """``"mean"`` or ``"sum"``: whether the learner scales the mean loss by its weight."""

    def spec(self) -> ArraySpec:
        """Return the arrays of a fragment that this agent adds to the runtime's own fields."""
        ...

    def build_network(self) -> nn.Module:
        """Return a fresh network; its weights come from torch's global generator."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Return the loss of a batch; pure in (parameters, buffers, batch)."""
        ...


class Agent(Learns, Protocol):
    """One algorithm: the same object acts in actors and trains in the learner."""

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


class RowSource(Protocol):
    """A data set as numbered rows; what a row holds is a function of its number.

    Attributes:
        fingerprint: Checksum of the data; another one means other rows.
    """

    fingerprint: str

    def fields(self) -> dict[str, Field]:
        """Return the arrays of a fragment of rows."""
        ...

    def read(self, first: int, arrays: Mapping[str, np.ndarray[Any, Any]]) -> int:
        """Fill ``arrays`` with the rows from number ``first`` on; return the tokens in them."""
        ...


class Validation(Protocol):
    """Measures a network on held-out data, between two updates; it leaves the network as it was.

    Attributes:
        every: Updates between two measurements.
    """

    every: int

    def __call__(self, network: nn.Module, update: int) -> dict[str, float]:
        """Return metrics by name, ``eval/loss`` among them."""
        ...
