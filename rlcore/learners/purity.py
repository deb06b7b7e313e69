"""Checks that a loss is a function of parameters, buffers, batch and random state alone.

Estimators rely on it: some evaluate the loss at other parameters, or more than once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.learners.base import GradEstimate, GradientEstimator, StepContext
from rlcore.learners.errors import ImpureLossError


def check_purity(estimator: GradientEstimator, ctx: StepContext) -> None:
    """Estimate twice from one state and compare; buffers and random state are put back after.

    Raises:
        ImpureLossError: Loss or gradients differ, or the loss wrote to a parameter.
    """
    buffers = {name: b.detach().clone() for name, b in ctx.network.named_buffers()}
    theta = ctx.flat.theta.clone()
    states = _random_states(theta.device)
    results = []
    for _ in range(2):
        results.append(_kept(estimator.estimate(ctx)))
        if not torch.equal(ctx.flat.theta, theta):
            changed = [
                name
                for name, value in ctx.flat.named(theta).items()
                if not torch.equal(value, ctx.flat.named(ctx.flat.theta)[name])
            ]
            raise ImpureLossError(f"the loss wrote to parameter {changed[0]!r}")
        with torch.no_grad():
            for name, buffer in ctx.network.named_buffers():
                buffer.copy_(buffers[name])
        _restore(states)
    first, second = results
    if set(first) != set(second):
        odd = sorted(set(first) ^ set(second))
        raise ImpureLossError(f"{odd[0]} is there in one of two calls only")
    for name, value in first.items():
        if not torch.equal(torch.nan_to_num(value), torch.nan_to_num(second[name])):
            raise ImpureLossError(f"{name} differs between two calls with equal inputs")


def _kept(estimate: GradEstimate) -> dict[str, Tensor]:
    grads = estimate.grads or {}
    kept = {f"the gradient of {name!r}": grad.clone() for name, grad in grads.items()}
    return {"the loss": estimate.loss.clone(), "the weight": estimate.weight.clone(), **kept}


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def _restore(states: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1])
