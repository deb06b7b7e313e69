"""Diagnostics of a policy-gradient batch: how off-policy it is, how well values predict."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.ops.policy_loss.masked import masked_mean


@torch.no_grad()
def importance_metrics(
    log_ratio: Tensor, valid: Tensor, count: Tensor, clip: float | None = None
) -> dict[str, Tensor]:
    """Return ``policy/kl`` and the ``is/*`` metrics.

    The KL divergence of the acting policy ``mu`` from ``pi`` is estimated by ``k3``, the mean of
    ``r - 1 - log r`` with ``r = pi/mu``: unbiased and never negative. The effective sample size is
    ``(sum r)^2 / (n sum r^2)``, a share of the batch. Without a valid row all are 0.

    Args:
        log_ratio: ``[T, B]``, ``log pi(a|x) - log mu(a|x)``.
        valid: ``[T, B]`` bool.
        count: Scalar, number of valid rows.
        clip: Level at which the loss truncates ratios, for ``is/clip_frac``; ``None`` for none.
    """
    log_ratio = log_ratio.masked_fill(~valid, 0.0)
    ratio = log_ratio.exp().masked_fill(~valid, 0.0)
    mean = masked_mean(ratio, valid, count)
    square = masked_mean(ratio.square(), valid, count)
    metrics = {
        "policy/kl": masked_mean(ratio - 1.0 - log_ratio, valid, count),
        "is/ratio_mean": mean,
        "is/ratio_max": ratio.max() if ratio.numel() else mean,
        "is/ess": mean.square() / square.clamp(min=torch.finfo(square.dtype).tiny),
    }
    if clip is not None:
        metrics["is/clip_frac"] = masked_mean((ratio > clip).to(ratio.dtype), valid, count)
    return metrics


@torch.no_grad()
def explained_variance(values: Tensor, targets: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Return ``1 - Var[targets - values] / Var[targets]`` over the valid rows.

    1 is perfect, 0 no better than a constant. Where the targets do not vary there is nothing to
    explain, and the result is 0.
    """
    unexplained = _variance(targets - values, valid, count)
    total = _variance(targets, valid, count)
    share = 1.0 - unexplained / total
    return torch.where(total > 0.0, share, torch.zeros_like(share))


def _variance(x: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    centred = x - masked_mean(x, valid, count)
    return masked_mean(centred.square(), valid, count)
