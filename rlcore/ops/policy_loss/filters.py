"""Which answers train, and what is taken from rewards, before advantages are formed."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.policy_loss.limits import check_choice

Invalid = Literal["drop", "penalize"]


def without_constant_groups(rewards: Tensor, group_ids: Tensor, valid: Tensor) -> Tensor:
    """Return ``valid`` without groups whose valid rewards are all equal (DAPO's dynamic sampling).

    Args:
        rewards: ``[N]``.
        group_ids: ``[N]`` integers.
        valid: ``[N]`` bool.
    """
    _, of_row = torch.unique(group_ids, return_inverse=True)
    number = int(of_row.max()) + 1 if len(of_row) else 0
    extremes = []
    for filler, which in ((torch.inf, "amin"), (-torch.inf, "amax")):
        start = torch.full((number,), filler, dtype=rewards.dtype, device=rewards.device)
        masked = rewards.masked_fill(~valid, filler)
        extremes.append(start.scatter_reduce(0, of_row, masked, which)[of_row])
    return valid & (extremes[1] > extremes[0])


def overlong_penalty(lengths: Tensor, limit: int, buffer: int, factor: float = 1.0) -> Tensor:
    """Return what is added to the reward of long answers (DAPO, Yu et al. 2025, eq. 13).

    0 up to ``limit - buffer`` tokens, falling linearly to ``-factor`` at ``limit`` and beyond.

    Args:
        lengths: ``[N]`` tokens of the answers.
        limit: Longest answer.
        buffer: Tokens over which the penalty grows.
        factor: Largest penalty.

    Raises:
        ConfigError: ``buffer`` is not in ``[1, limit]``, or ``factor`` is negative.
    """
    if not 1 <= buffer <= limit:
        raise ConfigError(f"buffer must be in [1, limit] = [1, {limit}], got {buffer}")
    if not factor >= 0.0:
        raise ConfigError(f"factor must be >= 0, got {factor}")
    over = (lengths.to(torch.float32) - (limit - buffer)) / buffer
    return -factor * over.clamp(0.0, 1.0)


def judge_invalid(
    rewards: Tensor, valid: Tensor, how: Invalid, penalty: float = -1.0
) -> tuple[Tensor, Tensor]:
    """Return rewards and the mask of rows that train, where some answers break the schema.

    ``drop`` leaves them out, so that the policy gradient is that of ``E[R | valid]``;
    ``penalize`` gives them the reward ``penalty`` and keeps them: that of ``E[R]``.

    Args:
        rewards: ``[N]``.
        valid: ``[N]`` bool, which answers keep to the schema.
        how: What to do with the others.
        penalty: Their reward under ``penalize``.
    """
    check_choice("invalid", how, get_args(Invalid))
    if how == "drop":
        return rewards, valid
    return torch.where(valid, rewards, torch.full_like(rewards, penalty)), torch.ones_like(valid)
