"""Which positions of the window are committed now.

Every rule selects among the eligible positions only, and at least one on a row that must commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.checks import check_number
from rlcore.inference.decoding.confidence import Confidence, Drawn
from rlcore.inference.decoding.errors import ScheduleMismatch
from rlcore.inference.decoding.schedules import StepSchedule
from rlcore.inference.decoding.state import DecodeState

_PROBABILITIES = ("prob", "max_prob")


class Acceptance(Protocol):
    """Selects positions."""

    def check(self, confidence: Confidence) -> None:
        """Refuse a confidence that the rule's formula is not made for."""
        ...

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """Put what the rule needs into the state; return the most passes a row can take."""
        ...

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """Return the positions to commit, bool ``[R, W]``; no host synchronisation."""
        ...


@dataclass(frozen=True)
class FixedCount:
    """The most confident positions, as many as a schedule says.

    Attributes:
        schedule: Counts pass by pass; see :mod:`rlcore.inference.decoding.schedules`.
    """

    schedule: StepSchedule

    def check(self, confidence: Confidence) -> None:
        """See :class:`Acceptance`."""

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """See :class:`Acceptance`.

        Raises:
            ScheduleMismatch: The schedule does not commit exactly the masked positions.
        """
        parts = torch.split(state.masked, list(blocks), 1)
        masked = torch.stack([part.sum(1) for part in parts], 1)
        kinds, which = torch.unique(masked, dim=0, return_inverse=True)
        plans = [self._counts(kind) for kind in kinds.tolist()]
        longest = max(1, *map(len, plans))
        padded = torch.tensor([plan + [0] * (longest - len(plan)) for plan in plans])
        device = state.ids.device
        state.rows["accept/counts"] = padded.to(device)[which]
        state.rows["accept/steps"] = torch.tensor(list(map(len, plans)), device=device)[which]
        return longest

    def _counts(self, masked: list[int]) -> list[int]:
        blocks = [m for m in masked if m]
        if not blocks:
            return []
        counts = self.schedule.block_counts(blocks)
        if [sum(block) for block in counts] != blocks:
            raise ScheduleMismatch(
                f"the schedule commits {[sum(block) for block in counts]} positions a block, "
                f"but {blocks} are masked"
            )
        return [count for block in counts for count in block]

    @staticmethod
    def count(state: DecodeState) -> Tensor:
        """Return how many positions the next pass of each row commits, int64 ``[R]``."""
        counts = state.rows["accept/counts"]
        step = state.step.long().clamp(max=counts.shape[1] - 1)
        return counts.gather(1, step[:, None])[:, 0]

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`Acceptance`."""
        _, order = _ranked(confidence, drawn)
        taken = torch.arange(order.shape[1], device=order.device) < self.count(state)[:, None]
        return _unranked(taken, order) & drawn.eligible


@dataclass(frozen=True)
class Threshold:
    """All positions surer than ``tau``, else the surest one (Fast-dLLM, Wu et al. 2025).

    Attributes:
        tau: Least confidence, exclusive.
    """

    tau: float = 0.9

    def __post_init__(self) -> None:
        check_number("acceptance threshold", "tau", self.tau)

    def check(self, confidence: Confidence) -> None:
        """See :class:`Acceptance`."""

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """See :class:`Acceptance`."""
        return _one_a_pass(state)

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`Acceptance`."""
        sure = drawn.eligible & (confidence > self.tau)
        return _or_best(sure, confidence, drawn)


@dataclass(frozen=True)
class Factor:
    """The largest ``n`` with ``(n + 1)(1 - c_(n)) < factor`` (Fast-dLLM, Wu et al. 2025).

    ``c_(n)`` is the ``n``-th largest confidence, which must be a probability; at least one position
    is taken.

    Attributes:
        factor: The bound.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("acceptance factor", "factor", self.factor)
        if not self.factor > 0:
            raise ConfigError(f"acceptance factor: factor must be > 0, got {self.factor}")

    def check(self, confidence: Confidence) -> None:
        """See :class:`Acceptance`."""
        if confidence.name not in _PROBABILITIES:
            raise ConfigError(
                f"acceptance factor wants a probability as confidence, one of {_PROBABILITIES}, "
                f"got {confidence.name!r}"
            )

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """See :class:`Acceptance`."""
        return _one_a_pass(state)

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`Acceptance`."""
        ranked, order = _ranked(confidence, drawn)
        n = torch.arange(1, order.shape[1] + 1, device=order.device)
        holds = (n + 1) * (1 - ranked) < self.factor
        largest = torch.where(holds, n, 0).amax(1, keepdim=True)
        return _or_best(_unranked(n <= largest, order) & drawn.eligible, confidence, drawn)


@dataclass(frozen=True)
class Hierarchical:
    """The best of each masked run if surer than ``low``, and all surer than ``high``.

    A run is a maximal stretch of adjacent eligible positions; the best position of the window is
    always taken (dInfer, Ma et al. 2025).

    Attributes:
        high: Confidence that suffices anywhere, exclusive.
        low: Confidence that suffices for the best of a run, exclusive.
    """

    high: float = 0.9
    low: float = 0.5

    def __post_init__(self) -> None:
        check_number("acceptance hierarchical", "high", self.high)
        check_number("acceptance hierarchical", "low", self.low)
        if self.low > self.high:
            raise ConfigError(
                f"acceptance hierarchical: wants low <= high, got {self.low} and {self.high}"
            )

    def check(self, confidence: Confidence) -> None:
        """See :class:`Acceptance`."""

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """See :class:`Acceptance`."""
        return _one_a_pass(state)

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`Acceptance`."""
        eligible = drawn.eligible
        before = torch.cat([torch.zeros_like(eligible[:, :1]), eligible[:, :-1]], 1)
        run = (eligible & ~before).long().cumsum(1)  # 0 before the first run
        value = _among_eligible(confidence, drawn)
        best = value.new_full((len(run), run.shape[1] + 1), -torch.inf)
        best = best.scatter_reduce(1, run, value, "amax")
        places = torch.arange(run.shape[1], device=run.device).expand_as(run)
        place = places.where(eligible & (value == best.gather(1, run)), run.shape[1])
        first = torch.full_like(best, run.shape[1], dtype=torch.int64)
        first = first.scatter_reduce(1, run, place, "amin")
        leads = eligible & (places == first.gather(1, run))
        sure = eligible & ((value > self.high) | (leads & (value > self.low)))
        return sure | _or_best(torch.zeros_like(sure), confidence, drawn)


@dataclass(frozen=True)
class EntropyBound:
    """The longest prefix, by rising entropy, with ``sum(H) - max(H) <= gamma``.

    The EB-sampler (Ben-Hamu et al. 2025); the order is that of confidence ``neg_entropy``.

    Attributes:
        gamma: Bound in nats.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_number("acceptance entropy_bound", "gamma", self.gamma)
        if not self.gamma >= 0:
            raise ConfigError(f"acceptance entropy_bound: gamma must be >= 0, got {self.gamma}")

    def check(self, confidence: Confidence) -> None:
        """See :class:`Acceptance`."""
        if confidence.name != "neg_entropy":
            raise ConfigError(
                f"acceptance entropy_bound wants confidence 'neg_entropy', got {confidence.name!r}"
            )

    def begin(self, state: DecodeState, blocks: Sequence[int]) -> int:
        """See :class:`Acceptance`."""
        return _one_a_pass(state)

    def select(self, confidence: Tensor, drawn: Drawn, state: DecodeState) -> Tensor:
        """See :class:`Acceptance`."""
        _, order = _ranked(confidence, drawn)
        entropy = drawn.head.entropy.masked_fill(~drawn.eligible, 0.0).gather(1, order)
        # The sum without its largest term grows by the smaller of the old largest and the new one.
        largest = torch.cummax(entropy, 1).values
        before = torch.cat([torch.zeros_like(largest[:, :1]), largest[:, :-1]], 1)
        spent = torch.minimum(entropy, before).cumsum(1)
        return _unranked(spent <= self.gamma, order) & drawn.eligible


def _among_eligible(confidence: Tensor, drawn: Drawn) -> Tensor:
    """Return confidences in which every eligible position, however unsure, beats the others."""
    lowest = torch.finfo(confidence.dtype).min
    return confidence.clamp(min=lowest).masked_fill(~drawn.eligible, -torch.inf)


def _ranked(confidence: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
    """Return eligible confidences in falling order and their places; equals keep their order."""
    value = _among_eligible(confidence, drawn)
    ranked = torch.sort(value, dim=1, descending=True, stable=True)
    return ranked.values, ranked.indices


def _unranked(taken: Tensor, order: Tensor) -> Tensor:
    """Return in window order what ``taken`` says in rank order."""
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, taken.expand_as(order))


def _or_best(sure: Tensor, confidence: Tensor, drawn: Drawn) -> Tensor:
    """Return ``sure``, and the surest eligible position of rows that would commit nothing."""
    value = _among_eligible(confidence, drawn)
    best = torch.zeros_like(sure).scatter(1, value.argmax(1, keepdim=True), True)
    lacking = drawn.must_commit & ~sure.any(1)
    return sure | (best & drawn.eligible & lacking[:, None])


def _one_a_pass(state: DecodeState) -> int:
    return int(state.masked.sum(1).max())
