"""When a row is finished."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.checks import check_count
from rlcore.inference.decoding.state import FILLED, DecodeState


@dataclass(frozen=True)
class StopRule:
    """A row ends when no mask is left, at its end token, or at a limit of passes.

    Attributes:
        eos: Whether a row ends once an end token and every position before it are committed. The
            masked tail is then filled with the end token and marked FILLED.
        max_nfe: Most passes of a row; a row that meets it with masks left is ``truncated``.
    """

    eos: bool = True
    max_nfe: int | None = None

    def __post_init__(self) -> None:
        if self.max_nfe is not None:
            check_count("stop", "max_nfe", self.max_nfe)
        if not isinstance(self.eos, bool):
            raise ConfigError(f"stop: eos must be true or false, got {self.eos!r}")

    def apply(self, state: DecodeState, eos_id: int | None) -> None:
        """End rows after a pass, in place; no host synchronisation."""
        masked = state.masked
        if self.eos and eos_id is not None:
            tail = masked & _ended(state, masked, eos_id)[:, None] & state.active[:, None]
            state.response.copy_(state.response.masked_fill(tail, eos_id))
            state.commit_step.copy_(state.commit_step.masked_fill(tail, FILLED))
            masked = masked & ~tail
        left = masked.any(1)
        running = state.active & left
        if self.max_nfe is not None:
            out = running & (state.step >= self.max_nfe)
            state.truncated.logical_or_(out)
            running = running & ~out
        state.active.copy_(running)


def _ended(state: DecodeState, masked: Tensor, eos_id: int) -> Tensor:
    """Return which rows have an end token with nothing masked before it, bool ``[R]``."""
    known_up_to = (~masked).to(torch.uint8).cummin(1).values.bool()
    return ((state.response == eos_id) & known_up_to).any(1)
