"""Statistics against hand-computed values and brute force, per Agarwal et al. 2021."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlcore.tracking import statistics as stats

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.floats(-100, 100, width=32),
)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([7.0], 7.0),
        ([1, 2, 3], 2.0),  # floor(3 / 4) = 0: nothing is cut
        ([1, 2, 3, 100], 2.5),
        ([5, 1, 4, 2, 3, 100, -100, 6], (2 + 3 + 4 + 5) / 4),
        ([[0, 10], [1, 11], [2, 12], [3, 1000]], (2 + 3 + 10 + 11) / 4),  # pooled over tasks
        ([0, 0, 1, 1, 1, 1, 9], (0 + 1 + 1 + 1 + 1) / 5),  # n = 7: one cut from each end
    ],
)
def test_iqm_by_hand(scores: list[float], expected: float) -> None:
    assert stats.iqm(scores) == pytest.approx(expected, abs=1e-12)


@given(SCORES)
def test_iqm_equals_the_trimmed_mean(scores: np.ndarray) -> None:
    pooled = sorted(scores.ravel().tolist())
    cut = int(0.25 * len(pooled))
    kept = pooled[cut : len(pooled) - cut]
    assert stats.iqm(scores) == pytest.approx(math.fsum(kept) / len(kept), abs=1e-9)


def test_mean_median_and_gap_by_hand() -> None:
    scores = [[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]]
    assert stats.mean(scores) == pytest.approx(7 / 6, abs=1e-12)
    assert stats.median(scores) == 1.0  # of the task means 1, 1, 1.5
    # shortfalls from 1: 1, 0, 0, 0, 0, 1 -> 2 / 6
    assert stats.optimality_gap(scores) == pytest.approx(2 / 6, abs=1e-12)
    assert stats.optimality_gap(scores, gamma=3.0) == pytest.approx(3 - 7 / 6, abs=1e-12)


def test_performance_profile_counts_scores_strictly_above() -> None:
    profile = stats.performance_profile([[0.0, 1.0], [1.0, 2.0]], [-1.0, 0.0, 1.0, 2.0])
    assert profile.tolist() == [1.0, 0.75, 0.25, 0.0]


@given(SCORES, st.floats(-120, 120))
def test_performance_profile_by_brute_force(scores: np.ndarray, threshold: float) -> None:
    expected = sum(score > threshold for score in scores.ravel()) / scores.size
    assert stats.performance_profile(scores, [threshold])[0] == pytest.approx(expected, abs=1e-12)


def test_probability_of_improvement_by_hand() -> None:
    # task 0: pairs (1,0) (1,1) (3,0) (3,1) -> 1, 1/2, 1, 1; task 1: 0, 0, 0, 0
    x, y = [[1.0, 0.0], [3.0, 0.0]], [[0.0, 5.0], [1.0, 5.0]]
    assert stats.probability_of_improvement(x, y) == pytest.approx((3.5 / 4 + 0) / 2, abs=1e-12)
    assert stats.probability_of_improvement(x, x) == 0.5


@given(SCORES, st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_probability_of_improvement_is_antisymmetric(x: np.ndarray, runs: int, seed: int) -> None:
    y = np.random.default_rng(seed).integers(-100, 100, (runs, x.shape[1])).astype(float)
    forward = stats.probability_of_improvement(x, y)
    assert forward + stats.probability_of_improvement(y, x) == pytest.approx(1.0, abs=1e-12)
    pairs = [
        np.mean([(a > b) + 0.5 * (a == b) for a, b in itertools.product(x[:, t], y[:, t])])
        for t in range(x.shape[1])
    ]
    assert forward == pytest.approx(np.mean(pairs), abs=1e-12)


def test_different_task_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="tasks differ: 2 and 1"):
        stats.probability_of_improvement([[1.0, 2.0]], [[1.0]])


@pytest.mark.parametrize("scores", [[], [[]], np.zeros((2, 2, 2)), [1.0, math.nan]])
def test_bad_scores_are_refused(scores: object) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        stats.iqm(scores)


def test_bootstrap_of_the_mean_matches_the_exact_distribution() -> None:
    # Two runs of one task, 0 and 1: the resampled mean is 0, 1/2, 1 with weights 1/4, 1/2, 1/4.
    scores = np.array([0.0, 1.0])
    low, high = stats.bootstrap_ci(scores, stats.mean, repetitions=20_000)
    assert (low, high) == (0.0, 1.0)
    low, high = stats.bootstrap_ci(scores, stats.mean, confidence=0.4, repetitions=20_000)
    assert (low, high) == (0.5, 0.5)


def test_bootstrap_is_stratified_by_task() -> None:
    # Within a task all runs agree, so resampling within tasks changes nothing at all.
    scores = np.array([[0.0, 10.0, -3.0]] * 5)
    for statistic in (stats.iqm, stats.mean, stats.median):
        value = statistic(scores)
        assert stats.bootstrap_ci(scores, statistic, repetitions=50) == (value, value)


def test_tasks_are_resampled_on_their_own() -> None:
    # Tasks drawn together would keep x + y = 0 in every resample and give an empty interval.
    scores = np.array([[1.0, -1.0], [-1.0, 1.0], [2.0, -2.0], [-2.0, 2.0]])
    low, high = stats.bootstrap_ci(scores, stats.mean, repetitions=2000)
    assert low < -0.5
    assert high > 0.5


def test_bootstrap_matches_the_normal_interval_of_a_large_sample() -> None:
    scores = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = stats.bootstrap_ci(scores, stats.mean, repetitions=20_000)
    half = 1.959964 * scores.std() / math.sqrt(400)
    assert low == pytest.approx(scores.mean() - half, abs=0.02)
    assert high == pytest.approx(scores.mean() + half, abs=0.02)


def test_the_vectorised_statistics_equal_the_plain_ones() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 3))
    for statistic in (stats.iqm, stats.mean):
        plain = stats.bootstrap_ci(scores, lambda s, f=statistic: f(s), repetitions=300)
        assert stats.bootstrap_ci(scores, statistic, repetitions=300) == pytest.approx(
            plain, abs=1e-12
        )


def test_chunks_do_not_change_the_result_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_CHUNK_VALUES", 30)
    rng = np.random.default_rng(0)
    values = stats.as_scores(rng.normal(size=(5, 2)))
    assert stats._estimates(values, stats.mean, 101, rng).shape == (101,)


def test_the_interval_repeats_with_its_seed() -> None:
    scores = np.random.default_rng(2).normal(size=(6, 2))
    first = stats.bootstrap_ci(scores, repetitions=500, seed=1)
    assert stats.bootstrap_ci(scores, repetitions=500, seed=1) == first
    assert stats.bootstrap_ci(scores, repetitions=500, seed=2) != first


def test_summary_of_episodes() -> None:
    summary = stats.summarise_episodes([1.0, 2.0, 3.0, 10.0], [5, 5, 5, 9])
    assert summary["eval/return_mean"] == 4.0
    assert summary["eval/return_iqm"] == 2.5
    assert summary["eval/return_median"] == 2.5
    assert summary["eval/return_std"] == pytest.approx(math.sqrt(12.5), abs=1e-12)
    assert (summary["eval/return_min"], summary["eval/return_max"]) == (1.0, 10.0)
    assert (summary["eval/length_mean"], summary["eval/episodes"]) == (6.0, 4.0)
    assert 1.0 < summary["eval/ci_low"] < 4.0 < summary["eval/ci_high"] < 10.0


def test_agreement_with_the_original_package() -> None:
    pytest.importorskip("rliable")
    from rliable import library, metrics

    scores = np.random.default_rng(3).gamma(2.0, 0.4, size=(8, 5))
    other = np.random.default_rng(4).gamma(2.0, 0.5, size=(6, 5))
    assert stats.iqm(scores) == pytest.approx(metrics.aggregate_iqm(scores), abs=1e-12)
    gap = metrics.aggregate_optimality_gap(scores)
    assert stats.optimality_gap(scores) == pytest.approx(gap, abs=1e-12)
    improvement = metrics.probability_of_improvement(scores, other)
    assert stats.probability_of_improvement(scores, other) == pytest.approx(improvement, abs=1e-12)
    _, intervals = library.get_interval_estimates(
        {"x": scores}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=5000
    )
    ours = stats.bootstrap_ci(scores, repetitions=5000)
    assert ours == pytest.approx(tuple(intervals["x"].ravel()), abs=1e-2)
