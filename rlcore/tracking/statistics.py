"""Statistics of scores over runs and tasks (Agarwal et al. 2021, "Deep RL at the Edge of the
Statistical Precipice"), in NumPy.

Scores are ``[runs, tasks]`` float arrays. One task with many episodes or seeds is ``[n, 1]``;
one-dimensional input is read as that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
Statistic = Callable[[Scores], float]

REPETITIONS = 50_000
EPISODE_REPETITIONS = 10_000
_CHUNK_VALUES = 4_000_000


def as_scores(scores: ArrayLike) -> Scores:
    """Return scores as a float64 ``[runs, tasks]`` array.

    Raises:
        ValueError: Empty, not finite, or of more than two dimensions.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must be [runs, tasks] and not empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("scores must be finite")
    return array


def iqm(scores: ArrayLike) -> float:
    """Return the interquartile mean: the mean of the middle half of the pooled scores.

    ``floor(n / 4)`` scores are cut from each end, as a 25% trimmed mean does.
    """
    pooled = np.sort(as_scores(scores), axis=None)
    cut = pooled.size // 4
    return float(pooled[cut : pooled.size - cut].mean())


def mean(scores: ArrayLike) -> float:
    """Return the mean over tasks of the mean over runs."""
    return float(as_scores(scores).mean())


def median(scores: ArrayLike) -> float:
    """Return the median over tasks of the mean over runs."""
    return float(np.median(as_scores(scores).mean(axis=0)))


def optimality_gap(scores: ArrayLike, gamma: float = 1.0) -> float:
    """Return the mean shortfall of scores from ``gamma``; scores above it count as ``gamma``."""
    return float(gamma - np.minimum(as_scores(scores), gamma).mean())


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Return, for each threshold, the share of (run, task) scores strictly above it."""
    pooled = np.sort(as_scores(scores), axis=None)
    above = pooled.size - np.searchsorted(pooled, np.asarray(thresholds, float), side="right")
    return above / pooled.size


def probability_of_improvement(scores_x: ArrayLike, scores_y: ArrayLike) -> float:
    """Return the mean over tasks of P(X > Y) + P(X = Y) / 2 over pairs of runs.

    Raises:
        ValueError: The arrays have different numbers of tasks.
    """
    x, y = as_scores(scores_x), as_scores(scores_y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"tasks differ: {x.shape[1]} and {y.shape[1]}")
    difference = x[:, None, :] - y[None, :, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def summarise_episodes(
    returns: ArrayLike, lengths: ArrayLike, *, seed: int = 0
) -> dict[str, float]:
    """Return the ``eval/*`` metrics of evaluation episodes.

    The interval is the 95% bootstrap interval of the mean return over episodes.
    """
    values = as_scores(returns)
    low, high = bootstrap_ci(values, mean, repetitions=EPISODE_REPETITIONS, seed=seed)
    return {
        "eval/return_mean": mean(values),
        "eval/return_iqm": iqm(values),
        "eval/return_std": float(values.std()),
        "eval/return_min": float(values.min()),
        "eval/return_max": float(values.max()),
        "eval/return_median": float(np.median(values)),
        "eval/ci_low": low,
        "eval/ci_high": high,
        "eval/length_mean": float(np.asarray(lengths, dtype=np.float64).mean()),
        "eval/episodes": float(values.size),
    }


def bootstrap_ci(
    scores: ArrayLike,
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile interval by the stratified bootstrap.

    Each repetition draws, within each task on its own, as many runs as there are, with
    replacement; tasks are not resampled.
    """
    values = as_scores(scores)
    estimates = _estimates(values, statistic, repetitions, np.random.default_rng(seed))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(estimates, [tail, 1.0 - tail])
    return float(low), float(high)


def _estimates(
    values: Scores, statistic: Statistic, repetitions: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    runs, tasks = values.shape
    chunk = max(1, _CHUNK_VALUES // values.size)
    parts = []
    for start in range(0, repetitions, chunk):
        count = min(chunk, repetitions - start)
        rows = rng.integers(0, runs, size=(count, runs, tasks))
        samples = values[rows, np.arange(tasks)]
        parts.append(_apply(samples, statistic))
    return np.concatenate(parts)


def _apply(samples: NDArray[np.float64], statistic: Statistic) -> NDArray[np.float64]:
    # The two common statistics over all repetitions at once.
    if statistic is iqm:
        flat = np.sort(samples.reshape(len(samples), -1), axis=1)
        cut = flat.shape[1] // 4
        means: NDArray[np.float64] = flat[:, cut : flat.shape[1] - cut].mean(axis=1)
        return means
    if statistic is mean:
        means = samples.mean(axis=(1, 2))
        return means
    return np.array([statistic(sample) for sample in samples])
