"""When a run ends: limits on steps, updates, time and return, checked once per update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EPISODE_WINDOW = 100


@dataclass(frozen=True, slots=True)
class StopLimits:
    """Limits of a run; ``None`` means no limit.

    Attributes:
        env_steps: Environment steps delivered to the learner.
        updates: Applied learner updates.
        seconds: Wall time of training, over all resumptions.
        episode_return: Mean return of the last 100 training episodes.
        loss: Loss on held-out data.
    """

    env_steps: int | None = None
    updates: int | None = None
    seconds: float | None = None
    episode_return: float | None = None
    loss: float | None = None

    def reason(
        self,
        *,
        env_steps: int,
        updates: int,
        seconds: float,
        returns: Sequence[float],
        loss: float | None = None,
    ) -> str | None:
        """Return why the run is over, or ``None`` while it is not."""
        if self.env_steps is not None and env_steps >= self.env_steps:
            return f"env_steps {env_steps} >= {self.env_steps}"
        if self.updates is not None and updates >= self.updates:
            return f"updates {updates} >= {self.updates}"
        if self.seconds is not None and seconds >= self.seconds:
            return f"wall_time {seconds:.1f} s >= {self.seconds:g} s"
        if self.episode_return is not None and len(returns) >= EPISODE_WINDOW:
            mean = sum(returns) / len(returns)
            if mean >= self.episode_return:
                return f"return {mean:.2f} >= {self.episode_return:g} over {len(returns)} episodes"
        if self.loss is not None and loss is not None and loss <= self.loss:
            return f"held-out loss {loss:.4f} <= {self.loss:g}"
        return None

    def progress(self, *, env_steps: int, updates: int) -> float:
        """Return the share of the step or update budget that is spent, in [0, 1]."""
        shares = [0.0]
        if self.env_steps:
            shares.append(env_steps / self.env_steps)
        if self.updates:
            shares.append(updates / self.updates)
        return min(1.0, max(shares))
