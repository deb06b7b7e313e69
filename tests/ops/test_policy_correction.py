"""Weights by the policy that acted: cut, masked, or of a whole sequence dropped."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rlcore.ops.policy_loss import (
    PRESETS,
    Correction,
    policy_loss,
)
from tests.ops.policy_cases import case, gradient


def test_without_lag_a_correction_changes_no_bit() -> None:
    c = case()
    for name, preset in PRESETS.items():
        settings = preset.loss_settings() | {"behaviour_logp": c["logp"].detach()}
        plain, _ = policy_loss(c["logp"], c["adv"], c["mask"], **settings | {"correction": None})
        settings["correction"] = Correction()
        corrected, metrics = policy_loss(c["logp"], c["adv"], c["mask"], **settings)
        assert plain.item() == corrected.item(), name
        assert torch.equal(gradient(plain, c["logp"]), gradient(corrected, c["logp"])), name
        assert metrics["is/weight_mean"].item() == metrics["is/weight_max"].item() == 1.0
        assert metrics["is/dropped_frac"].item() == 0.0


@pytest.mark.parametrize("kind", ["tis", "mis"])
def test_weights_are_cut_and_sequences_outside_the_band_are_dropped(kind: Any) -> None:
    logp = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    mu = torch.tensor([[-math.log(3.0), math.log(2.0)], [-1.0, -1.0]], dtype=torch.float64)
    adv = torch.tensor([1.0, 10.0], dtype=torch.float64)
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss, metrics = policy_loss(
        logp,
        adv,
        mask,
        ratio="none",
        behaviour_logp=mu,
        correction=Correction(kind, cap=2.0, seq_band=(0.5, 2.0)),
    )
    # Row 0: weights 3 (cut) and 1/2, geometric mean sqrt(3/2). Row 1: e, outside the band.
    first = 2.0 if kind == "tis" else 0.0
    assert -loss.item() == pytest.approx((first + 0.5) / 2, rel=1e-12)
    slope = -gradient(loss, logp)
    assert slope.tolist() == [
        pytest.approx([first / 2, 0.25], rel=1e-12),
        [0.0, 0.0],
    ]
    assert metrics["is/dropped_frac"].item() == 0.5
    assert metrics["is/clip_frac"].item() == pytest.approx(0.75)
    assert metrics["is/weight_mean"].item() == pytest.approx((first + 0.5) / 2)


@pytest.mark.parametrize("kind", ["tis", "mis"])
def test_a_weight_equal_to_the_cap_or_a_mean_at_the_band_stays(kind: Any) -> None:
    mu = torch.full((1, 3), -math.log(2.0), dtype=torch.float64)
    assert (-mu).exp().tolist() == [[2.0] * 3]
    for behaviour, weight in ((mu, 2.0), (-mu, 0.5)):
        logp = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        loss, metrics = policy_loss(
            logp, torch.ones(1, dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool),
            ratio="none", behaviour_logp=behaviour, correction=Correction(kind),
        )  # fmt: skip
        assert -loss.item() == weight
        assert metrics["is/clip_frac"].item() == metrics["is/dropped_frac"].item() == 0.0


def test_the_band_holds_the_mean_of_a_sequence_from_both_sides() -> None:
    away = torch.tensor([0.3, -0.8, 0.8, -0.3], dtype=torch.float64)[:, None].expand(4, 5)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 3:] = False  # means are over the tokens that count
    logp = torch.full((4, 5), -1.0, dtype=torch.float64)
    adv = torch.tensor([1.0, 100.0, 100.0, 2.0], dtype=torch.float64)
    behaviour = (logp - away).masked_fill(~mask, -50.0)
    loss, metrics = policy_loss(
        logp, adv, mask, ratio="none", behaviour_logp=behaviour, correction=Correction()
    )
    assert -loss.item() == pytest.approx((3 * math.exp(0.3) + 5 * 2 * math.exp(-0.3)) / 8)
    assert metrics["is/dropped_frac"].item() == pytest.approx(10 / 18)
    assert metrics["is/clip_frac"].item() == pytest.approx(5 / 18)
    assert metrics["is/weight_mean"].item() == pytest.approx(
        (3 * math.exp(0.3) + 5 * math.exp(-0.3)) / 8
    )
    k3 = [math.exp(d) - 1.0 - d for d in (0.3, -0.8, 0.8, -0.3)]
    assert metrics["policy/kl"].item() == pytest.approx(
        sum(n * k for n, k in zip((3, 5, 5, 5), k3, strict=True)) / 18
    )


def test_with_a_ratio_the_weight_is_that_of_the_old_policy() -> None:
    c = case(2, apart=0.1)
    loss, _ = policy_loss(
        c["logp"],
        c["adv"],
        c["mask"],
        ratio="token",
        behaviour_logp=c["mu"],
        old_logp=c["old"],
        correction=Correction(cap=1e9, seq_band=None),
    )
    on_mu = ((c["logp"] - c["mu"]).exp() * c["adv"][:, None])[c["mask"]].mean()
    assert -loss.item() == pytest.approx(on_mu.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "band"),
    [("none", None), ("token", None)]
    + [(ratio, (0.5, 2.0)) for ratio in ("none", "token", "sequence", "geometric")],
)
def test_what_a_correction_leaves_out_has_no_gradient_however_large_its_ratio(
    ratio: Any, band: tuple[float, float] | None
) -> None:
    logp = torch.tensor([[-1.0, -2.0], [-0.5, -0.7]], requires_grad=True)
    old = logp.detach() - torch.tensor([[0.0, 200.0], [0.0, 0.0]])
    behaviour = old - torch.tensor([[0.0, 10.0], [0.0, 0.0]])
    loss, _ = policy_loss(
        logp,
        torch.tensor([-1.0, 2.0]),
        torch.ones(2, 2, dtype=torch.bool),
        ratio=ratio,
        agg="token_mean",
        old_logp=old,
        behaviour_logp=behaviour,
        correction=Correction(kind="mis", cap=2.0, seq_band=band),
    )
    if band is None:  # the token is masked, and counts in the mean
        wanted, slope = (-1.0 + 2.0 * 2.0) / 4, [[0.25, 0.0], [-0.5, -0.5]]
    else:  # its sequence is dropped
        wanted, slope = 2.0, [[0.0, 0.0], [-1.0, -1.0]]
        if ratio == "sequence":
            slope[1] = [-2.0, -2.0]
    assert -loss.item() == pytest.approx(wanted)
    torch.testing.assert_close(gradient(loss, logp), torch.tensor(slope))
