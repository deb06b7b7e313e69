"""Advantages of groups: against plain loops, and what a faulty version gets wrong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlcore.errors import ConfigError, NonFiniteError
from rlcore.ops.policy_loss import group_advantages
from rlcore.ops.policy_loss.filters import (
    judge_invalid,
    overlong_penalty,
    without_constant_groups,
)
from rlcore.ops.policy_loss.groups import survivors


def by_loops(
    rewards: list[float], groups: list[int], valid: list[bool], mean: str, std: str, eps: float
) -> list[float]:
    """The definition, one row at a time."""

    def deviation(values: list[float]) -> float:
        if max(values) == min(values):
            return 0.0
        middle = math.fsum(values) / len(values)
        return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / len(values))

    everyone = [r for r, v in zip(rewards, valid, strict=True) if v]
    found = []
    for i, reward in enumerate(rewards):
        peers = [rewards[j] for j in range(len(rewards)) if valid[j] and groups[j] == groups[i]]
        others = [
            rewards[j]
            for j in range(len(rewards))
            if valid[j] and groups[j] == groups[i] and j != i
        ]
        if not valid[i] or (mean in ("group", "loo") and len(peers) < 2):
            found.append(0.0)
            continue
        baseline = {
            "group": lambda p=peers: math.fsum(p) / len(p),
            "loo": lambda o=others: math.fsum(o) / len(o),
            "batch": lambda: math.fsum(everyone) / len(everyone),
            "none": lambda: 0.0,
        }[mean]()
        if std == "none":
            found.append(reward - baseline)
            continue
        spread = deviation(peers if std == "group" else everyone)
        found.append(0.0 if spread == 0.0 else (reward - baseline) / (spread + eps))
    return found


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 1.0, 2.5]), st.integers(0, 4), st.booleans()),
        min_size=2,
        max_size=24,
    ),
    mean=st.sampled_from(["group", "loo", "batch", "none"]),
    std=st.sampled_from(["group", "batch", "none"]),
)
def test_advantages_equal_plain_loops(
    rows: list[tuple[float, int, bool]], mean: str, std: str
) -> None:
    rows = [*rows, (1.0, 0, True), (0.0, 0, True)]  # one group of two rows at least
    rewards, groups, valid = (list(column) for column in zip(*rows, strict=True))
    ours = group_advantages(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor(groups) * 7 - 3,
        mean=mean,
        std=std,
        valid=torch.tensor(valid),
        eps=1e-6,
    )
    assert ours.tolist() == pytest.approx(
        by_loops(rewards, groups, valid, mean, std, 1e-6), rel=1e-12, abs=1e-12
    )


def papo_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randint(0, 2, (16, 16), generator=generator).double() * 2 - 1
    return rewards.reshape(-1), torch.arange(16).repeat_interleave(16)


def test_the_order_of_rows_does_not_matter() -> None:
    rewards, groups = papo_batch()
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    straight = group_advantages(rewards, groups, mean="group", std="batch")
    shuffled = group_advantages(rewards[order], groups[order], mean="group", std="batch")
    assert torch.allclose(straight[order], shuffled, rtol=1e-13, atol=0)


def test_the_divisor_is_the_deviation_of_uncentred_rewards_of_the_batch() -> None:
    rewards, groups = papo_batch()
    ours = group_advantages(rewards, groups, mean="group", std="batch", eps=0.0)
    means = rewards.reshape(16, 16).mean(1).repeat_interleave(16)
    assert torch.allclose(ours * rewards.std(correction=0), rewards - means, rtol=1e-12, atol=1e-12)
    assert torch.allclose(
        ours.reshape(16, 16).sum(1), torch.zeros(16, dtype=torch.float64), atol=1e-12
    )


@pytest.mark.parametrize("std", ["group", "batch"])
@pytest.mark.parametrize("value", [1.0, -1.0, 0.1])
def test_equal_rewards_give_no_advantage(std: str, value: float) -> None:
    rewards = torch.full((6,), value)
    ours = group_advantages(rewards, torch.tensor([0, 0, 0, 1, 1, 1]), mean="group", std=std)
    assert ours.tolist() == [0.0] * 6


@pytest.mark.parametrize("std", ["group", "batch"])
def test_equal_rewards_are_told_from_rounding(std: str) -> None:
    """The mean of three times 0.1 is not 0.1, and the error over its own deviation is 1."""
    rewards = torch.full((3,), 0.1, dtype=torch.float64)
    assert (rewards.mean() != 0.1).item()
    ours = group_advantages(rewards, torch.zeros(3, dtype=torch.int64), std=std, eps=0.0)
    assert ours.tolist() == [0.0] * 3


def test_groups_with_one_survivor_are_dropped_and_do_not_disturb() -> None:
    rewards = torch.tensor([1.0, 0.0, 5.0, math.nan], dtype=torch.float64)
    groups = torch.tensor([0, 0, 1, 1])
    valid = torch.tensor([True, True, True, False])
    ours = group_advantages(rewards, groups, mean="group", std="none", valid=valid)
    assert ours.tolist() == [0.5, -0.5, 0.0, 0.0]
    assert survivors(groups, valid).tolist() == [True, True, False, False]


def test_no_survivor_at_all_gives_zeros() -> None:
    nobody = torch.zeros(4, dtype=torch.bool)
    for std in ("group", "batch", "none"):
        ours = group_advantages(torch.ones(4), torch.tensor([0, 0, 1, 1]), std=std, valid=nobody)
        assert ours.tolist() == [0.0] * 4


def test_advantages_carry_no_gradient() -> None:
    rewards = torch.tensor([1.0, 0.0], requires_grad=True)
    assert not group_advantages(rewards, torch.tensor([0, 0])).requires_grad


def test_bad_input_is_named() -> None:
    two = torch.tensor([0, 0])
    for arguments, words in (
        ((torch.tensor([1, 0]), two), "rewards must be a floating tensor"),
        ((torch.ones(2), torch.ones(2)), "group_ids must be integers"),
        ((torch.ones(2), two, "median"), "mean must be one of"),
        ((torch.ones(2), two, "group", "max"), "std must be one of"),
        ((torch.ones(2), two, "group", "group", torch.ones(2)), "valid must be bool"),
        ((torch.ones(2), torch.tensor([0, 1])), "every group has one row"),
    ):
        with pytest.raises(ConfigError, match=words):
            group_advantages(*arguments)
    with pytest.raises(NonFiniteError, match="reward of row 1 is inf"):
        group_advantages(torch.tensor([0.0, math.inf]), two)


def test_constant_groups_are_told_by_their_valid_rows() -> None:
    rewards = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0])
    groups = torch.tensor([4, 4, 4, 9, 9])
    valid = torch.tensor([True, True, False, True, True])
    kept = without_constant_groups(rewards, groups, valid)
    assert kept.tolist() == [False, False, False, True, True]


def test_long_answers_pay_linearly_within_the_buffer() -> None:
    lengths = torch.tensor([0, 80, 90, 95, 100, 200])
    found = overlong_penalty(lengths, limit=100, buffer=10, factor=2.0)
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.0, -1.0, -2.0, -2.0])
    with pytest.raises(ConfigError, match=r"buffer must be in \[1, limit\]"):
        overlong_penalty(lengths, limit=10, buffer=11)
    with pytest.raises(ConfigError, match="factor must be >= 0"):
        overlong_penalty(lengths, limit=10, buffer=1, factor=-1.0)


def test_invalid_answers_are_dropped_or_punished() -> None:
    rewards, valid = torch.tensor([1.0, 1.0]), torch.tensor([True, False])
    same, mask = judge_invalid(rewards, valid, "drop")
    assert same.tolist() == [1.0, 1.0]
    assert mask.tolist() == [True, False]
    punished, mask = judge_invalid(rewards, valid, "penalize", penalty=-0.5)
    assert punished.tolist() == [1.0, -0.5]
    assert mask.tolist() == [True, True]
    with pytest.raises(ConfigError, match="invalid must be one of"):
        judge_invalid(rewards, valid, "ignore")  # type: ignore[arg-type]
