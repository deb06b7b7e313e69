"""The restart budget: how long an actor waits, and when it may not start again."""

from __future__ import annotations

import pytest

from rlcore.runtime.restarts import FIRST_DELAY_S, LONGEST_DELAY_S, STEADY_S, RestartBudget


def test_the_delay_doubles_with_every_failure_in_a_row_up_to_its_limit():
    budget = RestartBudget(max_restarts=100, window_s=3600.0)
    delays = [budget.failed(0, "dead", float(now)) for now in range(10)]
    assert delays[:8] == pytest.approx([FIRST_DELAY_S * 2**k for k in range(8)])
    assert delays[8:] == [LONGEST_DELAY_S] * 2
    assert budget.failed(1, "dead", 10.0) == FIRST_DELAY_S  # each actor has a series of its own


def test_a_few_steps_between_failures_do_not_end_the_series():
    budget = RestartBudget(max_restarts=100, window_s=3600.0)
    delays, now = [], 0.0
    for _ in range(5):
        budget.healthy(0, now)
        budget.healthy(0, now + 0.9 * STEADY_S)
        now += 0.9 * STEADY_S
        delays.append(budget.failed(0, "dead", now))
    assert delays == pytest.approx([FIRST_DELAY_S * 2**k for k in range(5)])


def test_a_long_stretch_of_steps_ends_the_series():
    budget = RestartBudget(max_restarts=100, window_s=3600.0)
    budget.failed(0, "dead", 0.0)
    budget.failed(0, "dead", 1.0)
    budget.healthy(0, 10.0)
    budget.healthy(0, 10.0 + STEADY_S)
    assert budget.failed(0, "dead", 11.0 + STEADY_S) == FIRST_DELAY_S
    # Time in which it did not step, for example while it started, does not count.
    assert budget.failed(0, "dead", 500.0) == 2 * FIRST_DELAY_S


def test_the_budget_is_a_sliding_window():
    budget = RestartBudget(max_restarts=2, window_s=100.0)
    assert budget.failed(0, "dead", 0.0) is not None
    assert budget.failed(1, "hung", 50.0) is not None
    assert budget.failed(0, "dead", 99.0) is None
    assert budget.failed(0, "dead", 101.0) is not None
    assert budget.total == 3
    assert "3 x  actor 0: dead" in budget.summary()
