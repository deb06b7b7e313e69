"""The step size over a run: a warm-up, then constant, linear or cosine. Imports no torch."""

from __future__ import annotations

import math

from rlcore.learners.combinations import OptimizerConfig


def step_size(optimizer: OptimizerConfig, progress: float) -> float:
    """Return the step size where a share ``progress`` of the budget is spent.

    It rises linearly from 0 over the share ``warmup`` of the budget, and from there to the end
    falls to the share ``anneal_to`` of ``lr``: linearly, along half a cosine (Loshchilov & Hutter
    2017, eq. 5, without restarts), or not at all.
    """
    if progress < optimizer.warmup:
        return optimizer.lr * progress / optimizer.warmup
    if optimizer.anneal == "none":
        return optimizer.lr
    spent = min(1.0, (progress - optimizer.warmup) / (1.0 - optimizer.warmup))
    left = 1.0 - spent if optimizer.anneal == "linear" else 0.5 * (1.0 + math.cos(math.pi * spent))
    return optimizer.lr * (optimizer.anneal_to + (1.0 - optimizer.anneal_to) * left)
