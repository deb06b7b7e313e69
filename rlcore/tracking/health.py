"""Health lines: warnings that save a lost day, each said once per condition.

A :class:`Rule` looks at one record and says whether its condition holds; the monitor speaks when it
has held for ``patience`` records in a row that carry the metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PATIENCE = 30
ENTROPY_SHARE = 0.01
STARVED_SHARE = 0.5
BLOCKED_SHARE = 0.75
DOCS = "docs/reference/metrics.md#health-lines"

Check = Callable[[float, "HealthMonitor"], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on one metric.

    Attributes:
        metric: Metric it reads; records without it are passed over.
        holds: Whether a value is a sign of trouble.
        message: What to say; ``{value}`` is the newest value, ``{count}`` the records in a row.
        patience: Records in a row for which it must hold.
    """

    metric: str
    holds: Check
    message: str
    patience: int = PATIENCE


RULES: tuple[Rule, ...] = (
    Rule(
        "value/explained_variance",
        lambda value, _: value < 0,
        "the value function explains less than a constant would ({metric} = {value:.2f}, below 0 "
        "for {count} records): check reward scale, value coefficient and learning rate",
    ),
    Rule(
        "lag/mean",
        lambda value, monitor: monitor.lag_at_bound(value),
        "lag is at its bound ({metric} = {value:.1f} for {count} records): actors outrun the "
        "learner; use fewer actors, larger batches or a larger runtime.max_lag",
    ),
    Rule(
        "policy/entropy",
        lambda value, monitor: monitor.entropy_collapsed(value),
        "the policy is nearly deterministic ({metric} = {value:.2g}, below 1% of its start): "
        "raise the entropy coefficient unless the task is solved",
        patience=3,
    ),
    Rule(
        "runtime/learner_starved_frac",
        lambda value, _: value > STARVED_SHARE,
        "the learner waits for data {value:.0%} of its time ({count} records): more actors or "
        "faster environments would speed this run up",
    ),
    Rule(
        "runtime/actor_blocked_frac",
        lambda value, _: value > BLOCKED_SHARE,
        "actors wait for the learner {value:.0%} of their time ({count} records): fewer actors "
        "would do, or a faster learner",
    ),
    Rule(
        "fault/nonfinite",
        lambda value, _: value > 0,
        "{value:.0f} updates were skipped for a non-finite loss or gradient: see the newest file "
        "in debug/ and lower the learning rate",
        patience=1,
    ),
    Rule(
        "loss/total",
        lambda value, _: not math.isfinite(value),
        "the loss is not finite ({metric} = {value})",
        patience=1,
    ),
)


class HealthMonitor:
    """Feeds on records and yields warnings, one line each, once per condition.

    Args:
        max_lag: The schedule's bound on lag, if it has one.
        rules: The conditions.
    """

    def __init__(self, *, max_lag: int | None = None, rules: tuple[Rule, ...] = RULES) -> None:
        self.max_lag: int | None = max_lag
        self._rules = list(rules)
        self._streaks = dict.fromkeys(range(len(rules)), 0)
        self._first_entropy: float | None = None

    def lag_at_bound(self, value: float) -> bool:
        """Return whether a mean lag lies within 10% of the schedule's bound."""
        return self.max_lag is not None and value >= 0.9 * self.max_lag > 0

    def entropy_collapsed(self, value: float) -> bool:
        """Return whether entropy is below 1% of its first value.

        The differential entropy of a continuous policy may be negative; without a positive first
        value there is nothing to compare with.
        """
        if self._first_entropy is None:
            self._first_entropy = value
        return self._first_entropy > 0 and value < ENTROPY_SHARE * self._first_entropy

    def feed(self, record: Mapping[str, float]) -> list[str]:
        """Take one record; return the warnings it brings, usually none."""
        warnings = []
        for index, rule in enumerate(self._rules):
            value = record.get(rule.metric)
            if value is None or index not in self._streaks:
                continue
            streak = self._streaks[index] + 1 if rule.holds(value, self) else 0
            self._streaks[index] = streak
            if streak >= rule.patience:
                del self._streaks[index]
                text = rule.message.format(metric=rule.metric, value=value, count=streak)
                warnings.append(f"{text} ({DOCS})")
        return warnings
