"""How many positions a pass commits: uniform, ascending (ASS), cosine or given step by step.

A schedule turns the number of masked positions into one count a pass. Blocks are decoded one after
the other, each by its own share of the passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rlcore.errors import ConfigError
from rlcore.inference.decoding.checks import check_count
from rlcore.inference.decoding.errors import ScheduleMismatch


class StepSchedule(Protocol):
    """Counts a pass for blocks that are decoded from left to right."""

    def block_counts(self, masked: Sequence[int]) -> list[list[int]]:
        """Return, for each block, the counts of its passes; they sum to its masked positions."""
        ...


@dataclass(frozen=True)
class UniformSchedule:
    """Equal counts, the remainder going to the first passes (LLaDA, Nie et al. 2025).

    Attributes:
        steps: Passes of the whole response, shared equally by its blocks.
        per_pass: Positions a pass, in place of ``steps``; the last pass of a block may have fewer.
    """

    steps: int | None = None
    per_pass: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.per_pass is None):
            raise ConfigError(
                "schedule uniform wants one of steps and per_pass, "
                f"got steps={self.steps}, per_pass={self.per_pass}"
            )
        name = "steps" if self.per_pass is None else "per_pass"
        check_count("schedule uniform", name, getattr(self, name))

    def block_counts(self, masked: Sequence[int]) -> list[list[int]]:
        """See :class:`StepSchedule`."""
        if self.per_pass is not None:
            return [_by_count(m, self.per_pass) for m in masked]
        steps = _steps_of_a_block("uniform", self.steps, len(masked))
        return [_evenly(m, steps) for m in masked]


@dataclass(frozen=True)
class AscendingSchedule:
    """Ascending step sizes: ``1, 2, 4, ...`` and the rest (Yang et al. 2025, "ASS").

    ``L`` positions take ``S = floor(log2 L)`` passes: ``n_s = 2^s`` and ``n_{S-1} = L - 2^{S-1} +
    1``.

    Attributes:
        scope: ``sequence`` counts over the whole response, so that blocks must end where a pass
            ends (planner ``ascending_blocks``); ``block`` starts again in every block.
    """

    scope: str = "sequence"

    def __post_init__(self) -> None:
        if self.scope not in ("sequence", "block"):
            raise ConfigError(
                f"schedule ascending: scope must be 'sequence' or 'block', got {self.scope!r}"
            )

    def block_counts(self, masked: Sequence[int]) -> list[list[int]]:
        """See :class:`StepSchedule`."""
        if self.scope == "block":
            return [ascending_counts(m) for m in masked]
        return _split(ascending_counts(sum(masked)), masked)


@dataclass(frozen=True)
class CosineSchedule:
    """Few positions first, many last: ``L cos(pi (s+1) / 2S)`` stay masked after pass ``s``.

    The mask ratio of MaskGIT (Chang et al. 2022), with at least one position a pass.

    Attributes:
        steps: Passes of the whole response, shared equally by its blocks.
    """

    steps: int

    def __post_init__(self) -> None:
        check_count("schedule cosine", "steps", self.steps)

    def block_counts(self, masked: Sequence[int]) -> list[list[int]]:
        """See :class:`StepSchedule`."""
        steps = _steps_of_a_block("cosine", self.steps, len(masked))
        return [_cosine(m, min(steps, m)) for m in masked]


@dataclass(frozen=True)
class CustomSchedule:
    """Counts given pass by pass.

    Attributes:
        counts: Positions of each pass, all at least 1.
    """

    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(self.counts))
        if not self.counts:
            raise ConfigError("schedule custom: counts must name at least one pass, got none")
        for count in self.counts:
            check_count("schedule custom", "counts", count)

    def block_counts(self, masked: Sequence[int]) -> list[list[int]]:
        """See :class:`StepSchedule`."""
        return _split(list(self.counts), masked)


def ascending_counts(length: int) -> list[int]:
    """Return the ascending step sizes of ``length`` positions; one pass for fewer than four.

    Raises:
        ConfigError: ``length`` is negative.
    """
    if length < 0:
        raise ConfigError(f"length must be >= 0, got {length}")
    if length < 2:
        return [1] * length
    steps = length.bit_length() - 1
    return [2**s for s in range(steps - 1)] + [length - 2 ** (steps - 1) + 1]


def ascending_block_sizes(length: int, blocks: int) -> list[int]:
    """Return block sizes for which each of the last ``blocks - 1`` passes has its own block.

    From the right: ``2^{S-1} + 1 + (L - 2^S)``, then ``2^{S-2}``, ``2^{S-3}``, ...; the first block
    takes what is left, in the remaining passes (Yang et al. 2025).

    Raises:
        ConfigError: There are more blocks than passes.
    """
    counts = ascending_counts(length)
    if not 1 <= blocks <= len(counts):
        raise ConfigError(
            f"ascending blocks: {length} positions take {len(counts)} passes, which allows 1 to "
            f"{len(counts)} blocks, got {blocks}"
        )
    first = len(counts) - blocks + 1
    return [sum(counts[:first]), *counts[first:]]


def _steps_of_a_block(schedule: str, steps: int | None, blocks: int) -> int:
    total = steps or 0
    if total % blocks or total < blocks:
        raise ScheduleMismatch(
            f"schedule {schedule}: steps={total} is not a multiple of the number of blocks {blocks}"
        )
    return total // blocks


def _evenly(masked: int, steps: int) -> list[int]:
    """Return ``floor(m / S)`` a pass and one more in the first ``m mod S``; no empty pass."""
    base, more = divmod(masked, steps)
    return [base + (s < more) for s in range(steps) if base + (s < more)]


def _by_count(masked: int, count: int) -> list[int]:
    full, rest = divmod(masked, count)
    return [count] * full + [rest] * (rest > 0)


def _cosine(masked: int, steps: int) -> list[int]:
    counts: list[int] = []
    left = masked
    for s in range(1, steps + 1):
        target = math.floor(masked * math.cos(math.pi / 2 * s / steps)) if s < steps else 0
        # Each later pass still needs one position.
        target = max(min(target, left - 1), steps - s)
        counts.append(left - target)
        left = target
    return counts


def _split(counts: list[int], masked: Sequence[int]) -> list[list[int]]:
    """Return ``counts`` cut where the blocks end.

    Raises:
        ScheduleMismatch: A block does not end where a pass ends, or the sums differ.
    """
    if sum(counts) != sum(masked):
        raise ScheduleMismatch(
            f"the schedule commits {sum(counts)} positions in {len(counts)} passes, "
            f"but {sum(masked)} are masked"
        )
    blocks: list[list[int]] = []
    rest = iter(counts)
    for index, wanted in enumerate(masked):
        block: list[int] = []
        while sum(block) < wanted:
            block.append(next(rest))
        if sum(block) != wanted:
            raise ScheduleMismatch(
                f"block {index} has {wanted} masked positions, but the schedule's passes end at "
                f"{sum(block) - block[-1]} and {sum(block)}; use the planner whose blocks follow "
                "the schedule (ascending_blocks), or scope: block"
            )
        blocks.append(block)
    return blocks
