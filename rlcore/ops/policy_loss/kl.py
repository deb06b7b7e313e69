"""Estimates of KL(pi || reference) from the tokens that pi has sampled."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from rlcore.ops.policy_loss.limits import check_choice

Estimator = Literal["k1", "k2", "k3"]


def kl_estimate(logp: Tensor, ref_logp: Tensor, estimator: Estimator = "k3") -> Tensor:
    """Return an estimate a token, with ``l = log pi - log ref`` (Schulman, *Approximating KL*).

    ``k1 = l`` is unbiased and may be negative; ``k2 = l^2 / 2`` is biased, of low variance;
    ``k3 = exp(-l) - 1 + l`` is unbiased and never negative.

    Args:
        logp: Log-probabilities under the policy, any shape.
        ref_logp: Those under the reference, same shape.
        estimator: Which estimate.
    """
    check_choice("estimator", estimator, get_args(Estimator))
    log_ratio = logp - ref_logp
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    return (-log_ratio).exp() - 1.0 + log_ratio


def kl_penalty(logp: Tensor, ref_logp: Tensor, estimator: Estimator = "k3") -> Tensor:
    """Return the estimate's value with the gradient of the KL itself.

    On tokens sampled from pi the gradient of the KL is ``E[l grad log pi]``. That is the gradient
    of ``k2``; differentiating ``k1`` gives 0 in expectation, and ``k3`` that of the KL the other
    way round.

    Args:
        logp: Log-probabilities under the policy, any shape.
        ref_logp: Those under the reference, same shape; no gradient flows there.
        estimator: Which value.
    """
    ref_logp = ref_logp.detach()
    slope = kl_estimate(logp, ref_logp, "k2")
    return slope + (kl_estimate(logp, ref_logp, estimator) - slope).detach()
