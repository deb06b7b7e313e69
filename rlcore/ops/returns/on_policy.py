"""Multi-step returns and generalised advantages for data of the current policy."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import Backend, resolve_backend
from rlcore.ops.returns.checks import check_arrays, check_steps, check_unit_interval
from rlcore.ops.returns.reference import gae_reference, n_step_reference
from rlcore.ops.scan import linear_recurrence, recurrence_


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Return generalised advantages and value targets (Schulman et al. 2016, equation 16).

    ``A_t = delta_t + gamma lam A_{t+1}`` within an episode, with
    ``delta_t = r_t + gamma next_value_t - V(x_t)``; the target is ``A_t + V(x_t)``.

    Args:
        rewards: ``[T, B]``.
        values: ``[T, B]``, ``V(x_t)``.
        next_values: ``[T, B]``; see the package docstring.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.
        gamma: Discount in [0, 1].
        lam: Trace decay in [0, 1]; 1 gives the n-step advantage.
        backend: See :mod:`rlcore.ops.backends`.

    Returns:
        ``(advantages, targets)``, both ``[T, B]``, without gradient.

    Raises:
        ConfigError: ``gamma`` or ``lam`` is outside [0, 1], or the backend cannot run here.
        LearnerError: Shapes or dtypes do not fit.
        TypeError: An array is no tensor, or a setting no number.
    """
    check_unit_interval("gamma", gamma)
    check_unit_interval("lam", lam)
    check_arrays(
        {"rewards": rewards, "values": values, "next_values": next_values},
        {"terminated": terminated, "truncated": truncated},
    )
    chosen = resolve_backend(backend, values)
    with torch.no_grad():
        if chosen == "reference":
            advantages = gae_reference(
                rewards, values, next_values, terminated, truncated, gamma, lam
            )
        else:
            delta = next_values.masked_fill(terminated, 0.0).mul_(gamma).add_(rewards).sub_(values)
            decay = torch.full_like(values, gamma * lam)
            decay.masked_fill_(terminated | truncated, 0.0)
            advantages = _recur(decay, delta, chosen)
        return advantages, advantages + values


def n_step(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    n: int | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Return n-step advantages and the bootstrapped returns they come from.

    ``R_t = r_t + gamma r_{t+1} + ... + gamma^m next_value_{t+m-1}``, where ``m`` is the smallest
    of ``n``, the steps to the episode's end and the steps to the fragment's end. ``n=None`` is the
    forward view of A3C (Mnih et al. 2016, algorithm S3): every step looks ahead as far as the
    fragment goes.

    Args:
        rewards: ``[T, B]``.
        values: ``[T, B]``, ``V(x_t)``, subtracted from the returns for the advantages.
        next_values: ``[T, B]``; see the package docstring.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.
        gamma: Discount in [0, 1].
        n: Steps to look ahead, at least 1, or ``None`` for as many as the fragment has.
        backend: See :mod:`rlcore.ops.backends`; with a number ``n``, ``reference`` or ``torch``.

    Returns:
        ``(advantages, targets)``, both ``[T, B]``, without gradient; targets are ``R_t``.

    Raises:
        ConfigError: ``gamma`` is outside [0, 1], ``n < 1``, or the backend cannot run here.
        LearnerError: Shapes or dtypes do not fit.
        TypeError: An array is no tensor, or a setting no number.
    """
    check_unit_interval("gamma", gamma)
    check_steps("n", n)
    check_arrays(
        {"rewards": rewards, "values": values, "next_values": next_values},
        {"terminated": terminated, "truncated": truncated},
    )
    if n is not None and backend in ("numba", "triton"):
        raise ConfigError(f"a number of steps n={n} wants backend 'torch', got {backend!r}")
    chosen = resolve_backend("torch" if n is not None and backend == "auto" else backend, values)
    steps = len(rewards)
    with torch.no_grad():
        if chosen == "reference":
            look = steps if n is None else n
            returns = n_step_reference(rewards, next_values, terminated, truncated, gamma, look)
        elif n is None or n >= steps:
            returns = _full_returns(rewards, next_values, terminated, truncated, gamma, chosen)
        else:
            returns = _n_step_returns(rewards, next_values, terminated, truncated, gamma, n)
        return returns - values, returns


def _full_returns(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    backend: str,
) -> Tensor:
    ends = terminated | truncated
    ends[-1] = True  # the fragment's end bootstraps like a time limit
    tail = next_values.masked_fill(terminated | ~ends, 0.0)
    decay = torch.full_like(rewards, gamma).masked_fill_(ends, 0.0)
    return _recur(decay, tail.mul_(gamma).add_(rewards), backend)


def _n_step_returns(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    n: int,
) -> Tensor:
    """Lengthen all one-step returns by one step, ``n - 1`` times."""
    ends = (terminated | truncated)[:-1]
    one = next_values.masked_fill(terminated, 0.0).mul_(gamma).add_(rewards)
    returns = one.clone()
    for _ in range(n - 1):
        longer = rewards[:-1] + gamma * returns[1:]
        returns[:-1] = torch.where(ends, one[:-1], longer)
    return returns


def _recur(decay: Tensor, inputs: Tensor, backend: str) -> Tensor:
    if backend == "torch":
        return recurrence_(decay, inputs)
    return linear_recurrence(decay, inputs, "numba" if backend == "numba" else "triton")
