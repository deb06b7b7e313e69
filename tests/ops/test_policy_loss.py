"""Masked sums, advantages and the diagnostics of a batch."""

from __future__ import annotations

import math

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.ops.policy_loss import limits
from rlcore.ops.policy_loss.masked import (
    bootstrap_before_invalid,
    count_valid,
    masked_mean,
    normalize,
)
from rlcore.ops.policy_loss.metrics import explained_variance, importance_metrics
from rlcore.ops.policy_loss.schedule import linear

VALID = torch.tensor([[True, False], [True, True]])


def test_masked_mean_leaves_invalid_rows_out_of_value_and_gradient() -> None:
    x = torch.tensor([[1.0, math.nan], [2.0, 6.0]], dtype=torch.float64, requires_grad=True)
    mean = masked_mean(x, VALID, count_valid(VALID))
    assert mean.item() == 3.0
    mean.backward()
    assert x.grad.tolist() == [[1 / 3, 0.0], [1 / 3, 1 / 3]]


def test_an_empty_mask_gives_zero() -> None:
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert masked_mean(torch.ones(2, 2), none, count_valid(none)).item() == 0.0
    assert count_valid(none).item() == 0.0


def test_normalize_uses_valid_rows_alone() -> None:
    x = torch.tensor([[1.0, 1e6], [2.0, 6.0]], dtype=torch.float64)
    ours = normalize(x, VALID, count_valid(VALID))[VALID]
    wanted = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    wanted = (wanted - 3.0) / wanted.std(correction=0)
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=0)


def test_rows_before_padding_bootstrap() -> None:
    valid = torch.tensor([[True, True], [True, False], [True, False]])
    truncated = torch.tensor([[True, False], [False, False], [False, False]])
    extended = bootstrap_before_invalid(truncated, valid)
    assert extended.tolist() == [[True, True], [False, True], [False, False]]
    assert truncated.sum() == 1


def test_importance_metrics_by_hand() -> None:
    ratio = torch.tensor([[1.0, 99.0], [2.0, 0.25]], dtype=torch.float64)
    metrics = importance_metrics(ratio.log(), VALID, count_valid(VALID), clip=1.5)
    r = [1.0, 2.0, 0.25]
    wanted = {
        "policy/kl": sum(x - 1 - math.log(x) for x in r) / 3,
        "is/ratio_mean": sum(r) / 3,
        "is/ratio_max": 2.0,
        "is/ess": sum(r) ** 2 / (3 * sum(x * x for x in r)),
        "is/clip_frac": 1 / 3,
    }
    assert {k: v.item() for k, v in metrics.items()} == pytest.approx(wanted)
    assert "is/clip_frac" not in importance_metrics(ratio.log(), VALID, count_valid(VALID))


def test_explained_variance() -> None:
    targets = torch.tensor([[1.0, 50.0], [2.0, 6.0]], dtype=torch.float64)
    count = count_valid(VALID)
    assert explained_variance(targets, targets, VALID, count).item() == 1.0
    constant = torch.full_like(targets, 7.0)
    assert explained_variance(constant, targets, VALID, count).item() == pytest.approx(0.0)
    assert explained_variance(-targets, targets, VALID, count).item() == pytest.approx(-3.0)
    assert explained_variance(targets, constant, VALID, count).item() == 0.0


def test_linear_schedule() -> None:
    assert linear(0.5, None, 0.7) == 0.5
    assert linear(0.5, 0.1, 0.0) == 0.5
    assert linear(0.5, 0.1, 1.0) == pytest.approx(0.1)
    assert linear(0.5, 0.1, 0.25) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: limits.check_at_least("x", 0.5, 1),
        lambda: limits.check_at_least("x", math.inf, 1),
        lambda: limits.check_positive("x", 0.0),
        lambda: limits.check_share("x", math.nan),
        lambda: limits.check_choice("x", "a", ("b",)),
    ],
)
def test_limits_name_what_was_found(call) -> None:
    with pytest.raises(ConfigError, match="x must be"):
        call()
