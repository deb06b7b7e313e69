"""The exact gradient of the loss, by reverse-mode differentiation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlcore.learners.base import GradEstimate, LossOutput, StepContext
from rlcore.learners.errors import EmptyBatchError, LossOutputError, NoGradientError


class Backprop:
    """One forward and one backward pass."""

    def estimate(self, ctx: StepContext) -> GradEstimate:
        """Return the gradient of the mean loss.

        Raises:
            EmptyBatchError: The loss has weight 0. On a CUDA device the weight is not looked at
                here; the learner skips and counts such a batch.
            NoGradientError: The loss does not depend on a trainable parameter.
            LossOutputError: The loss function did not return a scalar loss and its weight.
        """
        parameters = ctx.flat.parameters
        for parameter in parameters:
            parameter.grad = None
        output = ctx.loss_fn(ctx.network, ctx.batch)
        check_output(output)
        torch.autograd.backward(output.loss)
        grads = {
            name: parameter.grad
            for name, parameter in zip(ctx.flat.names, parameters, strict=True)
            if parameter.grad is not None
        }
        if not grads:
            raise NoGradientError(
                f"the loss reaches none of the trainable parameters ({', '.join(ctx.flat.names)})"
            )
        return GradEstimate(
            grads=grads,
            loss=output.loss.detach(),
            weight=output.weight.detach(),
            stamp=ctx.stamp,
            metrics=output.metrics,
        )


def check_output(output: LossOutput) -> None:
    """Check what a loss function returned.

    Raises:
        LossOutputError: ``loss`` or ``weight`` is not a scalar tensor.
        NoGradientError: ``loss`` does not require gradients.
        EmptyBatchError: ``weight`` is not above 0 and finite, where that can be told without
            waiting.
    """
    if not isinstance(output, LossOutput):
        raise LossOutputError(
            f"the loss function returned {type(output).__name__}; wanted LossOutput"
        )
    for name, value in (("loss", output.loss), ("weight", output.weight)):
        if not isinstance(value, Tensor):
            raise LossOutputError(f"{name} is a {type(value).__name__}; wanted a scalar tensor")
        if value.numel() != 1 or value.dim():
            raise LossOutputError(f"{name} has shape {tuple(value.shape)}; wanted a scalar ()")
    if output.weight.device.type == "cpu":
        weight = float(output.weight)
        if not 0.0 < weight < math.inf:
            raise EmptyBatchError(f"the batch has weight {weight:g}; wanted > 0 and finite")
    if not output.loss.requires_grad:
        raise NoGradientError("the loss does not require gradients: it reaches no parameter")
