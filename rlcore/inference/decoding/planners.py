"""Which positions may be committed now: the window of each row.

A window is a list of response positions per row, all of one width, so that one pass has one shape
whatever block each row has reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.checks import check_count
from rlcore.inference.decoding.schedules import ascending_block_sizes
from rlcore.inference.decoding.state import DecodeState


class Plan(NamedTuple):
    """The window of a pass.

    Attributes:
        positions: int64 ``[R, W]``: response positions, rising, within ``0 .. L - 1``.
        valid: bool ``[R, W]``: False where a row's window is narrower than ``W``.
        must_commit: bool ``[R]``: whether the pass must commit at least one position.
    """

    positions: Tensor
    valid: Tensor
    must_commit: Tensor


class BlockPlanner(Protocol):
    """Chooses windows."""

    def block_sizes(self, length: int) -> list[int]:
        """Return the sizes of the blocks of a response, from left to right."""
        ...

    def begin(self, state: DecodeState) -> None:
        """Put what :meth:`plan` needs into the state."""
        ...

    def plan(self, state: DecodeState) -> Plan:
        """Return the windows of the next pass; no host synchronisation."""
        ...


@dataclass(frozen=True)
class FullSequence:
    """Every position of the response, at any time."""

    def block_sizes(self, length: int) -> list[int]:
        """See :class:`BlockPlanner`."""
        return [length]

    def begin(self, state: DecodeState) -> None:
        """See :class:`BlockPlanner`."""

    def plan(self, state: DecodeState) -> Plan:
        """See :class:`BlockPlanner`."""
        positions = torch.arange(state.length, device=state.ids.device).expand(len(state), -1)
        return Plan(positions, torch.ones_like(positions, dtype=torch.bool), state.active)


@dataclass(frozen=True)
class SemiAR:
    """Blocks of one length from left to right: the first block that still has a mask, per row.

    Attributes:
        block_length: Positions of a block; it divides the response.
    """

    block_length: int

    def __post_init__(self) -> None:
        check_count("planner semi_ar", "block_length", self.block_length)

    def block_sizes(self, length: int) -> list[int]:
        """See :class:`BlockPlanner`.

        Raises:
            ConfigError: The blocks do not divide the response.
        """
        if length % self.block_length:
            raise ConfigError(
                f"gen_length {length} is not a multiple of block_length {self.block_length}"
            )
        return [self.block_length] * (length // self.block_length)

    def begin(self, state: DecodeState) -> None:
        """See :class:`BlockPlanner`."""

    def plan(self, state: DecodeState) -> Plan:
        """See :class:`BlockPlanner`."""
        start = first_masked(state) // self.block_length * self.block_length
        offsets = torch.arange(self.block_length, device=start.device)
        positions = start[:, None] + offsets
        return Plan(positions, torch.ones_like(positions, dtype=torch.bool), state.active)


@dataclass(frozen=True)
class BlockCausal(SemiAR):
    """:class:`SemiAR` for models whose blocks see only earlier blocks and themselves.

    The pipeline checks that the denoiser attends in blocks of the same length.
    """


@dataclass(frozen=True)
class AscendingBlocks:
    """Blocks that follow ascending step sizes, so that late passes have blocks of their own.

    See :func:`rlcore.inference.decoding.schedules.ascending_block_sizes`.

    Attributes:
        blocks: How many blocks; at most the number of passes.
    """

    blocks: int

    def __post_init__(self) -> None:
        check_count("planner ascending_blocks", "blocks", self.blocks)

    def block_sizes(self, length: int) -> list[int]:
        """See :class:`BlockPlanner`."""
        return ascending_block_sizes(length, self.blocks)

    def begin(self, state: DecodeState) -> None:
        """See :class:`BlockPlanner`."""
        sizes = torch.tensor(self.block_sizes(state.length))
        starts = sizes.cumsum(0) - sizes
        device = state.ids.device
        block_of = torch.arange(len(sizes)).repeat_interleave(sizes)
        state.tables["planner/start"] = starts[block_of].to(device)
        state.tables["planner/size"] = sizes[block_of].to(device)

    def plan(self, state: DecodeState) -> Plan:
        """See :class:`BlockPlanner`."""
        first = first_masked(state)
        start = state.tables["planner/start"][first]
        size = state.tables["planner/size"][first]
        widest = max(self.block_sizes(state.length))
        offsets = torch.arange(widest, device=first.device)
        positions = (start[:, None] + offsets).clamp_(max=state.length - 1)
        return Plan(positions, offsets < size[:, None], state.active)


def first_masked(state: DecodeState) -> Tensor:
    """Return the first masked position of each row, int64 ``[R]``; 0 where none is left."""
    return state.masked.to(torch.uint8).argmax(1)
