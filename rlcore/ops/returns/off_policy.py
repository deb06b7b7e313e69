"""V-trace: value targets and policy-gradient advantages for data of an older policy."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.ops.backends import Backend, resolve_backend
from rlcore.ops.returns.checks import (
    check_arrays,
    check_log_rhos,
    check_truncation,
    check_unit_interval,
)
from rlcore.ops.returns.reference import vtrace_reference
from rlcore.ops.scan import recurrence_


def vtrace(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    rho_pg_bar: float = 1.0,
    backend: Backend = "auto",
    check_finite: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return V-trace targets and advantages (Espeholt et al. 2018, section 4.1).

    With ``ratio = exp(log_rho)``, ``rho = min(rho_bar, ratio)``, ``c = lam min(c_bar, ratio)``::

        delta_t       = rho_t (r_t + gamma next_value_t - V(x_t))
        v_t - V(x_t)  = delta_t + gamma c_t (v_{t+1} - V(x_{t+1}))   within an episode
        q_t           = r_t + gamma (v_{t+1} within an episode, else next_value_t)
        advantage_t   = min(rho_pg_bar, ratio_t) (q_t - V(x_t))

    ``v_T - V(x_T) = 0`` and ``v_T = next_value_{T-1}`` at the fragment's end. ``rho_bar`` decides
    which policy's value is the fixed point, ``c_bar`` only how fast it is reached. On policy, with
    ``lam = 1`` and both levels at least 1, ``v_t`` is the n-step return.

    Args:
        log_rhos: ``[T, B]``, ``log pi(a_t|x_t) - log mu(a_t|x_t)``; ``-inf`` masks a row: its
            advantage is 0 and its target is ``V(x_t)``, whatever its reward and next value are.
        rewards: ``[T, B]``.
        values: ``[T, B]``, ``V(x_t)``.
        next_values: ``[T, B]``; see the package docstring.
        terminated: ``[T, B]`` bool.
        truncated: ``[T, B]`` bool.
        gamma: Discount in [0, 1].
        lam: Trace decay in [0, 1] (remark 2).
        rho_bar: Truncation of the temporal difference's weight; ``inf`` for none. Without one a
            ratio can overflow (in float32 for ``log_rho`` above 88), and so does the result.
        c_bar: Truncation of the trace's weight, at most ``rho_bar``.
        rho_pg_bar: Truncation of the policy gradient's weight.
        backend: See :mod:`rlcore.ops.backends`.
        check_finite: Whether to look for NaN and +inf in ``log_rhos`` (CPU tensors only: on a GPU
            the check would stall the device).

    Returns:
        ``(vs, pg_advantages)``, both ``[T, B]``, without gradient.

    Raises:
        ConfigError: A setting is out of range, ``rho_bar < c_bar``, or the backend cannot run here.
        LearnerError: Shapes or dtypes do not fit.
        TypeError: An array is no tensor, or a setting no number.
        NonFiniteError: ``log_rhos`` holds NaN or +inf.
    """
    check_unit_interval("gamma", gamma)
    check_unit_interval("lam", lam)
    check_truncation(rho_bar, c_bar, rho_pg_bar)
    check_arrays(
        {
            "rewards": rewards,
            "log_rhos": log_rhos,
            "values": values,
            "next_values": next_values,
        },
        {"terminated": terminated, "truncated": truncated},
    )
    chosen = resolve_backend(backend, values)
    if check_finite:
        check_log_rhos(log_rhos)
    arrays = (log_rhos, rewards, values, next_values, terminated, truncated)
    levels = (gamma, lam, rho_bar, c_bar, rho_pg_bar)
    with torch.no_grad():
        if chosen == "reference":
            return vtrace_reference(*arrays, *levels)
        if chosen == "numba":
            from rlcore.ops.returns.vtrace_numba import vtrace_numba

            return vtrace_numba(*arrays, *levels)
        if chosen == "triton":
            from rlcore.ops.returns.vtrace_triton import vtrace_triton

            return vtrace_triton(*arrays, *levels)
        return _vtrace_torch(*arrays, *levels)


def _vtrace_torch(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
    rho_bar: float,
    c_bar: float,
    rho_pg_bar: float,
) -> tuple[Tensor, Tensor]:
    """Everything but the recurrence itself is one pass over ``[T, B]``, mostly in place."""
    ratio = log_rhos.exp()
    masked = ratio == 0  # filled in, not multiplied by 0: such a row may hold NaN
    done = terminated | truncated
    after = next_values.masked_fill(terminated, 0.0)
    delta = (after * gamma).add_(rewards).sub_(values).mul_(ratio.clamp(max=rho_bar))
    delta.masked_fill_(masked, 0.0)
    decay = ratio.clamp(max=c_bar).mul_(gamma * lam).masked_fill_(done, 0.0)
    vs = recurrence_(decay, delta).add_(values)

    torch.where(done[:-1], after[:-1], vs[1:], out=after[:-1])
    advantages = after.mul_(gamma).add_(rewards).sub_(values).mul_(ratio.clamp_(max=rho_pg_bar))
    return vs, advantages.masked_fill_(masked, 0.0)
