"""The A3C loss (Mnih et al. 2016, section 4 and algorithm S3) on time-major ``[T, B]`` tensors."""

from __future__ import annotations

from torch import Tensor

from rlcore.learners.base import LossOutput
from rlcore.ops.policy_loss.masked import (
    bootstrap_before_invalid,
    count_valid,
    masked_mean,
    normalize,
)
from rlcore.ops.policy_loss.metrics import explained_variance, importance_metrics
from rlcore.ops.returns import gae, n_step


def a3c_loss(
    log_pi: Tensor,
    entropy: Tensor,
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
    gae_lambda: float | None = None,
    normalize_advantages: bool = False,
    log_mu: Tensor | None = None,
) -> LossOutput:
    """Return the A3C loss, a mean over the valid transitions.

    With the return ``R_t = r_t + gamma R_{t+1}``, bootstrapped with the value of the last state
    (0 where the episode terminated)::

        policy_t  = -log pi(a_t|x_t) (R_t - V(x_t))      no gradient through the advantage
        value_t   = (R_t - V(x_t))^2                     no gradient through R
        loss      = mean(policy_t + value_coef value_t - entropy_coef H(pi(.|x_t)))

    Args:
        log_pi: ``log pi(a_t|x_t)``, with gradient.
        entropy: ``H(pi(.|x_t))`` in nats, with gradient.
        values: ``V(x_t)``, with gradient.
        next_values: Value of the state that step ``t`` led to; see :mod:`rlcore.ops.returns`.
        rewards: ``r_t``.
        terminated: The task ended.
        truncated: A limit cut the episode.
        valid: False for rows that are not transitions.
        gamma: Discount.
        entropy_coef: Weight of the entropy bonus.
        value_coef: Weight of the value loss.
        gae_lambda: Trace decay of generalised advantages in the policy term; ``None`` for R - V.
        normalize_advantages: Whether to standardise advantages over the batch.
        log_mu: Behaviour log-probabilities; if given, metrics that cost a few passes are computed.
    """
    count = count_valid(valid)
    ends = bootstrap_before_invalid(truncated, valid)
    steps = (rewards, values, next_values, terminated, ends)

    advantages, returns = n_step(*steps, gamma)
    if gae_lambda is not None:
        advantages, _ = gae(*steps, gamma, gae_lambda)
    if normalize_advantages:
        advantages = normalize(advantages, valid, count)

    policy_loss = masked_mean(-log_pi * advantages, valid, count)
    value_loss = masked_mean((returns - values).square(), valid, count)
    mean_entropy = masked_mean(entropy, valid, count)
    loss = policy_loss + value_coef * value_loss - entropy_coef * mean_entropy

    metrics = {
        "loss/policy": policy_loss.detach(),
        "loss/value": value_loss.detach(),
        "policy/entropy": mean_entropy.detach(),
    }
    if log_mu is not None:
        metrics |= importance_metrics(log_pi.detach() - log_mu, valid, count)
        metrics["value/explained_variance"] = explained_variance(values, returns, valid, count)
    return LossOutput(loss, count, metrics)
