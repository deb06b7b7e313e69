"""The expected gradient on a policy that can be enumerated: two tokens over six symbols."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlcore.ops.policy_loss import (
    Correction,
    group_advantages,
    kl_penalty,
    policy_loss,
)
from rlcore.ops.policy_loss.filters import judge_invalid
from rlcore.ops.policy_loss.kl import kl_estimate
from tests.ops.policy_cases import gradient


class Toy:
    """Distributions of a first symbol, and of a second one that depends on the first."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(6, generator=generator, dtype=torch.float64)
        second = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        self.theta = torch.cat([first[None], second]).requires_grad_()

    def log_probs(self) -> Tensor:
        """``[36, 2]``: both tokens' log-probabilities of each trace."""
        table = self.theta.log_softmax(-1)
        return torch.stack([table[0].repeat_interleave(6), table[1:].reshape(-1)], 1)

    traces = torch.tensor(list(itertools.product(range(6), range(6))))
    reward = torch.where((traces.sum(1) % 3) == 0, 1.0, -1.0).double()
    valid = traces[:, 0] != traces[:, 1]


def exact_gradient(toy: Toy, how: str) -> Tensor:
    probability = toy.log_probs().sum(1).exp()
    if how == "drop":
        value = (probability * toy.reward * toy.valid).sum() / (probability * toy.valid).sum()
    else:
        value = (probability * torch.where(toy.valid, toy.reward, -2.0)).sum()
    return gradient(value, toy.theta)


@pytest.mark.parametrize("how", ["drop", "penalize"])
def test_the_expected_gradient_is_that_of_the_expected_reward(how: Any) -> None:
    toy, groups, size = Toy(1), 2000, 50
    generator = torch.Generator().manual_seed(7)
    chances = toy.log_probs().sum(1).exp().detach()
    picks = torch.multinomial(chances, groups * size, replacement=True, generator=generator)
    rewards, kept = judge_invalid(toy.reward[picks], toy.valid[picks], how, penalty=-2.0)
    found = []
    for part in range(20):  # for a standard error: 20 independent batches of 5,000 samples
        rows = slice(part * 5000, (part + 1) * 5000)
        # The mean over *other* answers of a group leaves the gradient's expectation alone.
        own = torch.arange(5000) // size
        adv = group_advantages(rewards[rows], own, mean="loo", std="none", valid=kept[rows])
        logp = toy.log_probs()[picks[rows]]
        mask = kept[rows][:, None].expand(-1, 2)
        loss, _ = policy_loss(logp, adv, mask, ratio="none", agg="seq_mean_token_sum")
        found.append(-gradient(loss, toy.theta))
    estimates = torch.stack(found)
    error = estimates.std(0) / math.sqrt(len(found))
    away = (estimates.mean(0) - exact_gradient(toy, how)).abs() / error.clamp(min=1e-4)
    assert away.max() < 4.0  # 42 entries: three standard errors of one are four of the largest
    assert away.square().mean().sqrt() < 1.5


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_penalty_has_the_value_of_its_estimate_and_the_gradient_of_the_kl(
    estimator: Any,
) -> None:
    generator = torch.Generator().manual_seed(2)
    theta = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    ref = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
    logp = theta.log_softmax(-1)
    weights = logp.detach().exp()  # the expectation over tokens sampled from pi
    penalty = (weights * kl_penalty(logp, ref, estimator)).sum()
    again = theta.log_softmax(-1)
    kl = (again.exp() * (again - ref)).sum()
    assert torch.allclose(gradient(penalty, theta), gradient(kl, theta), atol=1e-12)
    value = (weights * kl_estimate(logp, ref, estimator)).sum()
    assert penalty.item() == pytest.approx(value.item(), rel=1e-12)
    if estimator != "k2":
        assert value.item() == pytest.approx(kl.item(), rel=1e-9)


@pytest.mark.parametrize(("estimator", "wanted"), [("k1", "0"), ("k2", "kl"), ("k3", "reverse")])
def test_differentiating_an_estimate_gives_what_is_documented(estimator: Any, wanted: str) -> None:
    """In expectation over tokens of pi: nothing, KL(pi || ref), or KL(ref || pi)."""
    generator = torch.Generator().manual_seed(4)
    theta = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    ref = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(-1)
    logp = theta.log_softmax(-1)
    found = gradient((logp.detach().exp() * kl_estimate(logp, ref, estimator)).sum(), theta)
    pi = theta.log_softmax(-1)
    exact = {
        "0": (0.0 * pi).sum(),
        "kl": (pi.exp() * (pi - ref)).sum(),
        "reverse": (ref.exp() * (ref - pi)).sum(),
    }[wanted]
    assert torch.allclose(found, gradient(exact, theta), atol=1e-12)


def test_truncated_weights_of_a_policy_two_updates_behind_have_a_mean_near_one() -> None:
    """Exact expectations: over all traces of the policy that acted."""
    toy = Toy(5)
    acted = toy.log_probs().detach()
    for update in range(2):
        adv = toy.reward + 0.1 * update
        loss, _ = policy_loss(toy.log_probs(), adv, torch.ones(36, 2, dtype=torch.bool))
        slope = gradient(loss, toy.theta)
        toy.theta = (toy.theta - 0.5 * slope / slope.norm()).detach().requires_grad_()
    now = toy.log_probs()
    away = (now - acted).exp()
    chance = acted.sum(1).exp()
    assert (away.max() > 1.2).item()
    mean = (chance[:, None] * away.clamp(max=2.0)).sum() / 2.0
    _, metrics = policy_loss(
        now.repeat_interleave(10, 0), toy.reward.repeat_interleave(10),
        torch.ones(360, 2, dtype=torch.bool), ratio="none",
        behaviour_logp=acted.repeat_interleave(10, 0), correction=Correction(),
    )  # fmt: skip
    assert mean.item() == pytest.approx(1.0, abs=0.05)
    assert metrics["is/weight_max"].item() == pytest.approx(away.clamp(max=2.0).max().item())
