"""The exact gradient of the loss, by reverse-mode differentiation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlcore.learners.base import Batch, GradEstimate, GradStamp, LossFn
from rlcore.learners.errors import EmptyBatchError, NoGradientError

if TYPE_CHECKING:
    from torch import nn

    from rlcore.learners.flat import FlatParameters


class Backprop:
    """One forward and one backward pass."""

    def estimate(
        self,
        network: nn.Module,
        flat: FlatParameters,
        batch: Batch,
        loss_fn: LossFn,
        stamp: GradStamp,
        reduction: str,
    ) -> GradEstimate:
        """Return the gradient of the mean loss, or of the summed loss with ``reduction="sum"``.

        Raises:
            EmptyBatchError: The loss has weight 0.
            NoGradientError: The loss does not require gradients.
        """
        for parameter in flat.parameters:
            parameter.grad = None
        output = loss_fn(network, batch)
        if not output.loss.requires_grad:
            raise NoGradientError("the loss does not require gradients: it reaches no parameter")
        if output.weight.device.type == "cpu" and not float(output.weight) > 0:
            raise EmptyBatchError(f"the batch has weight {float(output.weight):g}; wanted > 0")
        loss = output.loss * output.weight if reduction == "sum" else output.loss
        loss.backward()
        grads = {
            name: parameter.grad
            for name, parameter in zip(flat.names, flat.parameters, strict=True)
            if parameter.grad is not None
        }
        return GradEstimate(
            grads=grads,
            loss=output.loss.detach(),
            weight=output.weight.detach(),
            stamp=stamp,
            metrics=output.metrics,
        )
