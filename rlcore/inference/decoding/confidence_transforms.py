"""Rules that change the order of positions and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.acceptance import Acceptance, FixedCount
from rlcore.inference.decoding.checks import check_number
from rlcore.inference.decoding.confidence import Drawn
from rlcore.inference.decoding.schedules import AscendingSchedule
from rlcore.inference.decoding.state import MASKED, DecodeState

CLOCKS = ("published", "filled")


class ConfidenceTransform(Protocol):
    """Maps confidences to confidences; never sees a way to change tokens or logits."""

    def bound(self, acceptance: Acceptance, eos_ids: tuple[int, ...]) -> ConfidenceTransform:
        """Return the rule for one pipeline."""
        ...

    def __call__(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """Return new confidences ``[R, W]``."""
        ...


@dataclass(frozen=True)
class EOSEarlyRejection:
    """Hold back end-of-sequence tokens while little of the response is known (Yang et al. 2025).

    The confidence of a position whose token is EOS is multiplied by ``g = gamma_min + (gamma_max -
    gamma_min) tau``; negative confidences are divided by ``g``, so that both become smaller.
    ``tau`` grows with the row's progress:

    * clock ``published``: ``s / (S - 1)`` at pass ``s`` of ``S`` (1 if ``S = 1``), and
      ``(2^(s+1) - 1) / 2^S`` for the ascending schedule; wants acceptance ``fixed_count``.
    * clock ``filled``: the share of the response that is committed after this pass: with
      ``fixed_count`` exactly, with other rules at least one more than before the pass.

    Attributes:
        gamma_min: Factor at ``tau = 0``.
        gamma_max: Factor at ``tau = 1``.
        clock: None takes ``published`` for ``fixed_count`` and ``filled`` for other rules.
        eos_ids: Tokens held back; empty takes the denoiser's.
    """

    gamma_min: float = 0.4
    gamma_max: float = 1.0
    clock: str | None = None
    eos_ids: tuple[int, ...] = ()
    ascending: bool = False
    planned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "eos_ids", tuple(self.eos_ids))
        check_number("eos_early_rejection", "gamma_min", self.gamma_min)
        check_number("eos_early_rejection", "gamma_max", self.gamma_max)
        if not 0.0 <= self.gamma_min <= self.gamma_max <= 1.0:
            raise ConfigError(
                "eos_early_rejection: wants 0 <= gamma_min <= gamma_max <= 1, "
                f"got {self.gamma_min} and {self.gamma_max}"
            )
        if self.clock is not None and self.clock not in CLOCKS:
            raise ConfigError(
                f"eos_early_rejection: clock must be one of {CLOCKS}, got {self.clock!r}"
            )

    def bound(self, acceptance: Acceptance, eos_ids: tuple[int, ...]) -> EOSEarlyRejection:
        """See :class:`ConfidenceTransform`.

        Raises:
            ConfigError: No token is known to end a sequence, or the clock needs a schedule.
        """
        fixed = isinstance(acceptance, FixedCount)
        clock = self.clock or ("published" if fixed else "filled")
        if clock == "published" and not fixed:
            raise ConfigError(
                "eos_early_rejection: clock 'published' counts the passes of acceptance "
                f"fixed_count, got {type(acceptance).__name__}; use clock 'filled'"
            )
        if not (self.eos_ids or eos_ids):
            raise ConfigError("eos_early_rejection: the denoiser names no eos_id; set eos_ids")
        ascending = isinstance(acceptance, FixedCount) and isinstance(
            acceptance.schedule, AscendingSchedule
        )
        return replace(
            self, clock=clock, eos_ids=self.eos_ids or eos_ids, ascending=ascending, planned=fixed
        )

    def __call__(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`ConfidenceTransform`."""
        gain = self.gain(state).to(confidence.dtype)[:, None]
        # A confidence of exactly 0 stays 0 rather than 0 / 0.
        lowered = torch.where(confidence < 0, confidence / gain, confidence * gain)
        ends = drawn.tokens == self.eos_ids[0]
        for token in self.eos_ids[1:]:
            ends = ends | (drawn.tokens == token)
        return torch.where(ends, lowered, confidence)

    def gain(self, state: DecodeState) -> Tensor:
        """Return the factor of each row at its next pass, float64 ``[R]``."""
        if self.clock == "filled":
            tau = _filled_after(state, self.planned)
        else:
            tau = _published(state, self.ascending)
        return self.gamma_min + (self.gamma_max - self.gamma_min) * tau


def _published(state: DecodeState, ascending: bool) -> Tensor:
    step, steps = state.step.double(), state.rows["accept/steps"].double()
    if ascending:
        return (torch.exp2(step + 1) - 1) / torch.exp2(steps)
    return torch.where(steps > 1, step / (steps - 1).clamp(min=1), 1.0).clamp(max=1.0)


def _filled_after(state: DecodeState, planned: bool) -> Tensor:
    committed = (state.commit_step != MASKED).sum(1)
    count = FixedCount.count(state) if planned else torch.ones_like(committed)
    return ((committed + count).double() / state.length).clamp(max=1.0)
