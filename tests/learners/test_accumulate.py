"""Merging gradient estimates."""

from __future__ import annotations

import pytest
import torch

from rlcore.learners.accumulate import merge
from rlcore.learners.base import GradEstimate, GradStamp
from rlcore.learners.errors import EmptyBatchError, LearnerStateError


def estimate(version: int, weight: float, **grads: float) -> GradEstimate:
    return GradEstimate(
        {name: torch.tensor([value]) for name, value in grads.items()},
        loss=torch.tensor(float(version)),
        weight=torch.tensor(weight),
        stamp=GradStamp(version, f"worker {version}"),
        metrics={"m": torch.tensor(2.0 * version)},
    )


def test_the_oldest_stamp_and_weighted_means() -> None:
    merged = merge(iter([estimate(6, 1.0, a=4.0), estimate(2, 3.0, a=8.0, b=4.0)]))
    assert merged.stamp == GradStamp(2, "worker 2")
    assert merged.n_evals == 2
    assert float(merged.weight) == 4.0
    assert merged.grads == {"a": torch.tensor([7.0]), "b": torch.tensor([3.0])}
    assert float(merged.loss) == 3.0
    assert float(merged.metrics["m"]) == 6.0


def test_one_is_returned_as_it_is_and_none_is_refused() -> None:
    alone = estimate(1, 2.0, a=1.0)
    assert merge([alone]) is alone
    with pytest.raises(EmptyBatchError, match="no batch"):
        merge([])


def test_estimates_without_gradients_are_refused() -> None:
    moved = GradEstimate(None, torch.tensor(0.0), torch.tensor(1.0), GradStamp(0))
    with pytest.raises(LearnerStateError, match="without gradients"):
        merge([moved, moved])
