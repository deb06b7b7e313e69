"""Counting: what the learner has seen, and what one report says of it.

Nothing is lost in silence: every delivered step is either trained on or counted as dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rlcore.data.ring import Fragment
from rlcore.runtime.stop import EPISODE_WINDOW


@dataclass(slots=True)
class Totals:
    """Counters of a run; all of them survive a resume.

    Attributes:
        env_steps: Valid transitions delivered to the learner.
        trained_steps: Those trained on; the rest were dropped.
        dropped_fragments: Fragments rejected for their lag.
        dropped_steps: Valid transitions in them.
        torn_fragments: Fragments whose checksum did not hold.
        episodes: Finished episodes.
        updates: Applied updates.
        skipped_updates: Updates refused for a non-finite loss or gradient.
        empty_batches: Batches without one valid transition, which no update is made of.
        seconds: Wall time of training.
        held_out_loss: The last loss on held-out data, if any.
        returns: Returns of the last episodes, oldest first.
        lengths: Their lengths.
    """

    env_steps: int = 0
    trained_steps: int = 0
    dropped_fragments: int = 0
    dropped_steps: int = 0
    torn_fragments: int = 0
    episodes: int = 0
    updates: int = 0
    skipped_updates: int = 0
    empty_batches: int = 0
    seconds: float = 0.0
    held_out_loss: float | None = None
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=EPISODE_WINDOW))
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=EPISODE_WINDOW))

    def count_episodes(self, fragment: Fragment) -> None:
        """Add the episodes that ended in ``fragment``."""
        lengths = fragment.arrays.get("episode_length")
        if lengths is None:  # rows of a data set
            return
        ended = np.nonzero(lengths)
        if len(ended[0]):
            self.returns.extend(fragment.arrays["episode_return"][ended].tolist())
            self.lengths.extend(lengths[ended].tolist())
            self.episodes += len(ended[0])

    def to_json(self) -> dict[str, Any]:
        """Return the counters as JSON-able values."""
        values = asdict(self)
        values["returns"] = list(self.returns)
        values["lengths"] = list(self.lengths)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Totals:
        """Restore what ``to_json`` returned."""
        totals = cls(**{k: v for k, v in values.items() if k not in ("returns", "lengths")})
        totals.returns.extend(values["returns"])
        totals.lengths.extend(values["lengths"])
        return totals

    def episode_metrics(self) -> dict[str, float]:
        """Return the statistics of the last episodes; empty before the first one ends."""
        if not self.returns:
            return {}
        returns = np.fromiter(self.returns, float)
        return {
            "episode/return_mean": float(returns.mean()),
            "episode/return_min": float(returns.min()),
            "episode/return_max": float(returns.max()),
            "episode/return_std": float(returns.std()),
            "episode/length_mean": float(np.mean(self.lengths)),
            "episode/count": float(self.episodes),
        }


@dataclass(slots=True)
class LagWindow:
    """Lag of the steps trained on since the last report: ``learner version - acting version``."""

    steps: int = 0
    weighted: int = 0
    largest: int = 0

    def add(self, lag: int, steps: int) -> None:
        """Count ``steps`` transitions trained at ``lag``."""
        self.steps += steps
        self.weighted += lag * steps
        self.largest = max(self.largest, lag)

    def take(self) -> dict[str, float]:
        """Return ``lag/mean`` and ``lag/max`` and start afresh."""
        if not self.steps:
            return {}
        values = {"lag/mean": self.weighted / self.steps, "lag/max": float(self.largest)}
        self.steps = self.weighted = self.largest = 0
        return values
