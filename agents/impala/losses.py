"""The IMPALA loss (Espeholt et al. 2018, section 4.2) on time-major ``[T, B]`` tensors."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from rlcore.learners.base import LossOutput
from rlcore.ops.policy_loss.masked import count_valid, masked_mean, normalize
from rlcore.ops.policy_loss.metrics import explained_variance, importance_metrics
from rlcore.ops.returns import vtrace

EPSILON = 1e-6
"""Added inside the logarithm by the ``epsilon`` variant."""


def impala_loss(
    log_pi: Tensor,
    entropy: Tensor,
    log_mu: Tensor,
    values: Tensor,
    next_values: Tensor,
    rewards: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    *,
    gamma: float,
    entropy_coef: float,
    value_coef: float = 0.5,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    lam: float = 1.0,
    rho_pg_bar: float = 1.0,
    correction: Literal["vtrace", "one_step_is", "epsilon", "none"] = "vtrace",
    normalize_advantages: bool = False,
    metrics: bool = True,
) -> LossOutput:
    """Return the IMPALA loss, a mean over the valid transitions.

    With V-trace targets ``v_t`` and ``rho_t = min(rho_pg_bar, pi/mu)``::

        policy_t  = -log pi(a_t|x_t) rho_t (r_t + gamma v_{t+1} - V(x_t))
        value_t   = (v_t - V(x_t))^2 / 2
        loss      = mean(policy_t + value_coef value_t - entropy_coef H(pi(.|x_t)))

    Targets, weights and advantages carry no gradient.

    Args:
        log_pi: ``log pi(a_t|x_t)``, with gradient.
        entropy: ``H(pi(.|x_t))`` in nats, with gradient.
        log_mu: ``log mu(a_t|x_t)``, stored when acting.
        values: ``V(x_t)``, with gradient.
        next_values: Value of the state that step ``t`` led to; see :mod:`rlcore.ops.returns`.
        rewards: ``r_t``.
        terminated: The task ended.
        truncated: A limit cut the episode.
        valid: False for rows that are not transitions.
        gamma: Discount.
        entropy_coef: Weight of the entropy bonus.
        value_coef: Weight of the value loss.
        rho_bar: See :func:`rlcore.ops.returns.vtrace`.
        c_bar: As ``rho_bar``.
        lam: As ``rho_bar``.
        rho_pg_bar: As ``rho_bar``.
        correction: The variants of section 5.2.2: ``vtrace``; ``one_step_is``, uncorrected returns
            and a weighted policy gradient; ``epsilon``, uncorrected but with ``log(pi + 1e-6)``;
            ``none``.
        normalize_advantages: Whether to standardise advantages over the batch.
        metrics: Whether to compute the metrics that cost a few passes.
    """
    count = count_valid(valid)
    # Rows that are no transitions have weight zero: their target is V and they end every trace.
    log_rhos = (log_pi.detach() - log_mu).masked_fill(~valid, -math.inf)
    steps = (rewards, values, next_values, terminated, truncated)
    if correction == "vtrace":
        levels = (rho_bar, c_bar, rho_pg_bar)
        vs, advantages = vtrace(log_rhos, *steps, gamma, lam, *levels, check_finite=False)
    else:  # all weights 1: plain n-step returns (lambda-returns, where lam < 1)
        ones = torch.zeros_like(log_rhos).masked_fill_(~valid, -math.inf)
        vs, advantages = vtrace(ones, *steps, gamma, lam, check_finite=False)
    if correction == "one_step_is":
        advantages = advantages * log_rhos.exp().clamp(max=rho_pg_bar)
    if correction == "epsilon":
        log_pi = torch.log(log_pi.exp() + EPSILON)
    if normalize_advantages:
        advantages = normalize(advantages, valid, count)

    policy_loss = masked_mean(-log_pi * advantages, valid, count)
    value_loss = 0.5 * masked_mean((vs - values).square(), valid, count)
    mean_entropy = masked_mean(entropy, valid, count)
    loss = policy_loss + value_coef * value_loss - entropy_coef * mean_entropy

    report = {
        "loss/policy": policy_loss.detach(),
        "loss/value": value_loss.detach(),
        "policy/entropy": mean_entropy.detach(),
    }
    if metrics:
        clip = {"vtrace": rho_bar, "one_step_is": rho_pg_bar}.get(correction)
        report |= importance_metrics(log_rhos, valid, count, clip)
        report["value/explained_variance"] = explained_variance(values, vs, valid, count)
    return LossOutput(loss, count, report)
