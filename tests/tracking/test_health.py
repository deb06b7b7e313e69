"""Health lines: each rule speaks once, after its patience, and never without cause."""

from __future__ import annotations

import math

import pytest

from rlcore.tracking.health import DOCS, RULES, HealthMonitor, Rule

PATIENCE = {rule.metric: rule.patience for rule in RULES}


def feed(monitor: HealthMonitor, metric: str, values: list[float]) -> list[int]:
    """Return the positions of ``values`` at which a warning came."""
    return [i for i, value in enumerate(values) if monitor.feed({metric: value})]


@pytest.mark.parametrize(
    ("metric", "bad", "good"),
    [
        ("value/explained_variance", -0.01, 0.0),
        ("lag/mean", 3.6, 3.5),
        ("runtime/learner_starved_frac", 0.51, 0.5),
        ("runtime/actor_blocked_frac", 0.76, 0.75),
        ("fault/nonfinite", 1.0, 0.0),
        ("loss/total", math.nan, 1e30),
    ],
)
def test_a_condition_warns_once_when_it_has_held(metric: str, bad: float, good: float) -> None:
    patience = PATIENCE[metric]
    assert feed(HealthMonitor(max_lag=4), metric, [good] * 200) == []
    assert feed(HealthMonitor(max_lag=4), metric, [bad] * 200) == [patience - 1]


@pytest.mark.parametrize("metric", ["value/explained_variance", "runtime/learner_starved_frac"])
def test_an_interrupted_condition_starts_again(metric: str) -> None:
    bad, good = (-1.0, 1.0) if metric.startswith("value") else (1.0, 0.0)
    patience = PATIENCE[metric]
    values = [bad] * (patience - 1) + [good] + [bad] * patience
    assert feed(HealthMonitor(), metric, values) == [2 * patience - 1]


def test_records_without_the_metric_change_nothing() -> None:
    monitor = HealthMonitor()
    patience = PATIENCE["value/explained_variance"]
    warned = []
    for _ in range(patience):
        warned += monitor.feed({"value/explained_variance": -1.0})
        warned += monitor.feed({"loss/policy": 0.0})
    assert len(warned) == 1


def test_lag_without_a_bound_never_warns() -> None:
    assert feed(HealthMonitor(), "lag/mean", [50.0] * 100) == []
    assert feed(HealthMonitor(max_lag=0), "lag/mean", [0.0] * 100) == []


def test_entropy_is_compared_with_its_start() -> None:
    assert feed(HealthMonitor(), "policy/entropy", [0.7, 0.0071, 0.0071, 0.0071]) == []
    assert feed(HealthMonitor(), "policy/entropy", [0.7, 0.0069, 0.0069, 0.0069]) == [3]
    # Differential entropy may be negative: no share of such a start is meaningful.
    assert feed(HealthMonitor(), "policy/entropy", [-1.0, -5.0, -5.0, -5.0, -5.0]) == []


def test_conditions_are_independent_and_lines_are_single() -> None:
    monitor = HealthMonitor()
    lines = monitor.feed({"fault/nonfinite": 3.0, "loss/total": math.inf})
    assert len(lines) == 2
    assert all("\n" not in line and DOCS in line for line in lines)
    assert lines[0].startswith("3 updates were skipped")


def test_own_rules() -> None:
    rule = Rule("perf/env_steps_per_s", lambda value, _: value < 10, "slow: {value:.0f}", 2)
    monitor = HealthMonitor(rules=(rule,))
    assert feed(monitor, "perf/env_steps_per_s", [5, 20, 5, 5, 5]) == [3]
