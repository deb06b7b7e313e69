"""Advantages of answers from the rewards of the answers to the same prompt."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError, NonFiniteError
from rlcore.ops.policy_loss.limits import check_choice

Baseline = Literal["group", "batch", "loo", "none"]
Scale = Literal["group", "batch", "none"]


def group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    mean: Baseline = "group",
    std: Scale = "group",
    valid: Tensor | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """Return ``(reward - baseline) / (scale + eps)`` of each answer.

    Rows that are not ``valid`` take part in no mean or deviation, and their advantage is 0.
    With a baseline of the group (``group``, ``loo``) so is that of a group with one valid row: the
    mean would be the row itself. Where the rewards under a scale are all equal, advantages are 0.

    ============  ===================================================================
    ``mean``
    ============  ===================================================================
    ``group``     mean of the valid rows of the group (GRPO, Shao et al. 2024, eq. 3)
    ``loo``       mean of the *other* valid rows of the group (RLOO, Ahmadian et al. 2024)
    ``batch``     mean of all valid rows
    ``none``      0
    ============  ===================================================================

    ``std`` is the population deviation of the uncentred rewards of the group, of the whole batch
    (PAPO: groups are nearly constant after a filter, and their own deviation would explode), or 1.

    Args:
        rewards: ``[N]``, floating.
        group_ids: ``[N]``, integers; equal for answers to the same prompt, in any order.
        mean: Baseline.
        std: Scale.
        valid: ``[N]`` bool; all where ``None``.
        eps: Added to the deviation.

    Returns:
        ``[N]``, the dtype of ``rewards``, no gradient.

    Raises:
        ConfigError: Wrong shapes, dtypes or choices; or a baseline of the group where no group
            has two rows.
        NonFiniteError: The reward of a valid row is NaN or infinite.
    """
    check_choice("mean", mean, get_args(Baseline))
    check_choice("std", std, get_args(Scale))
    valid = _checked(rewards, group_ids, valid)
    rewards = rewards.detach().masked_fill(~valid, 0.0)
    groups = _Groups(group_ids, valid)
    if mean in ("group", "loo") and groups.largest < 2:
        raise ConfigError(
            f"mean={mean!r} compares answers to one prompt, but every group has one row; "
            "sample at least 2 a prompt, or take mean='batch' or 'none'"
        )
    kept = survivors(group_ids, valid, 2) if mean in ("group", "loo") else valid
    centred = rewards - _baseline(rewards, groups, mean)
    if std != "none":
        scale, varies = _scale(rewards, groups, std)
        centred = torch.where(varies, centred / (scale + eps), torch.zeros_like(centred))
    return centred.masked_fill(~kept, 0.0)


def survivors(group_ids: Tensor, valid: Tensor, least: int = 2) -> Tensor:
    """Return ``valid`` without the rows of groups that have fewer than ``least`` valid rows.

    Args:
        group_ids: ``[N]`` integers.
        valid: ``[N]`` bool.
        least: Smallest number of valid rows of a group that is kept.
    """
    return valid & (_Groups(group_ids, valid).count >= least)


class _Groups:
    """Sums over the valid rows of groups, given back to each row."""

    def __init__(self, group_ids: Tensor, valid: Tensor) -> None:
        _, self.of_row, sizes = torch.unique(group_ids, return_inverse=True, return_counts=True)
        self.valid, self.number = valid, len(sizes)
        self.largest = int(sizes.max()) if self.number else 0
        self.count = self.sum(valid.to(torch.int64))

    def sum(self, values: Tensor) -> Tensor:
        zeros = torch.zeros(self.number, dtype=values.dtype, device=values.device)
        return zeros.index_add(0, self.of_row, values)[self.of_row]

    def mean(self, values: Tensor) -> Tensor:
        total = self.sum(values.masked_fill(~self.valid, 0.0))
        return total / self.count.clamp(min=1).to(values.dtype)

    def extreme(self, values: Tensor, which: str) -> Tensor:
        filler = torch.inf if which == "amin" else -torch.inf
        start = torch.full((self.number,), filler, dtype=values.dtype, device=values.device)
        masked = values.masked_fill(~self.valid, filler)
        return start.scatter_reduce(0, self.of_row, masked, which)[self.of_row]


def _baseline(rewards: Tensor, groups: _Groups, mean: Baseline) -> Tensor:
    if mean == "group":
        return groups.mean(rewards)
    if mean == "loo":
        others = (groups.count - 1).clamp(min=1).to(rewards.dtype)
        return (groups.sum(rewards) - rewards) / others
    if mean == "batch":
        return rewards.sum() / groups.valid.sum().to(rewards.dtype)
    return torch.zeros_like(rewards)


def _scale(rewards: Tensor, groups: _Groups, std: Scale) -> tuple[Tensor, Tensor]:
    """Return the deviation for each row, and whether rewards differ at all there."""
    if std == "group":
        deviation = groups.mean((rewards - groups.mean(rewards)).square()).sqrt()
        # Told by the extremes: equal rewards have a deviation of rounding errors, not of 0.
        return deviation, groups.extreme(rewards, "amax") > groups.extreme(rewards, "amin")
    chosen = rewards[groups.valid]
    if not len(chosen):
        return torch.ones_like(rewards), torch.zeros_like(rewards, dtype=torch.bool)
    deviation = (chosen - chosen.mean()).square().mean().sqrt()
    varies = chosen.max() > chosen.min()
    return deviation.expand_as(rewards), varies.expand_as(rewards)


def _checked(rewards: Tensor, group_ids: Tensor, valid: Tensor | None) -> Tensor:
    if rewards.ndim != 1 or not rewards.is_floating_point():
        raise ConfigError(
            f"rewards must be a floating tensor [N], got {rewards.dtype} {list(rewards.shape)}"
        )
    if group_ids.shape != rewards.shape or group_ids.is_floating_point():
        raise ConfigError(
            f"group_ids must be integers {list(rewards.shape)}, got {group_ids.dtype} "
            f"{list(group_ids.shape)}"
        )
    if valid is None:
        valid = torch.ones_like(rewards, dtype=torch.bool)
    if valid.shape != rewards.shape or valid.dtype != torch.bool:
        raise ConfigError(
            f"valid must be bool {list(rewards.shape)}, got {valid.dtype} {list(valid.shape)}"
        )
    bad = valid & ~rewards.isfinite()
    if bad.any():
        row = int(bad.nonzero()[0])
        raise NonFiniteError(f"the reward of row {row} is {float(rewards[row])}, wanted a number")
    return valid
