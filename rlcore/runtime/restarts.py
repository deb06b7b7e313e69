"""How often an actor may fail: exponential back-off and a budget, as one small pure class."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
STEADY_S = 30.0
"""Seconds an actor must have been stepping for its next failure to start a new series."""


@dataclass(slots=True)
class RestartBudget:
    """Restarts of all actors of a run.

    Attributes:
        max_restarts: Restarts allowed in ``window_s`` seconds.
        window_s: Length of the sliding window.
        total: Restarts granted so far.
        causes: One line a failure, oldest first.
    """

    max_restarts: int
    window_s: float
    total: int = 0
    causes: list[str] = field(default_factory=list)
    _times: deque[float] = field(default_factory=deque)
    _streak: dict[int, int] = field(default_factory=dict)
    _stepping: dict[int, tuple[float, float]] = field(default_factory=dict)

    def failed(self, actor: int, cause: str, now: float) -> float | None:
        """Count a failure of ``actor``.

        Returns:
            Seconds to wait before restarting it, doubling with each failure in a row, or ``None``
            where the budget is spent.
        """
        self.causes.append(f"actor {actor}: {cause}")
        first, last = self._stepping.pop(actor, (now, now))
        if last - first >= STEADY_S:
            self._streak.pop(actor, None)
        while self._times and now - self._times[0] > self.window_s:
            self._times.popleft()
        if len(self._times) >= self.max_restarts:
            return None
        self._times.append(now)
        self.total += 1
        streak = self._streak.get(actor, 0)
        self._streak[actor] = streak + 1
        return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**streak))

    def healthy(self, actor: int, now: float) -> None:
        """Note that ``actor`` made a step; ``STEADY_S`` of them end a series of failures."""
        self._stepping[actor] = (self._stepping.get(actor, (now, now))[0], now)

    def summary(self, last: int = 10) -> str:
        """Return the causes as a table with repeated lines counted."""
        counts: dict[str, int] = {}
        for cause in self.causes:
            counts[cause] = counts.get(cause, 0) + 1
        lines = [f"  {count:3d} x  {cause}" for cause, count in list(counts.items())[-last:]]
        return "\n".join(lines)
