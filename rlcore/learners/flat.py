"""A module's trainable parameters as views of one flat vector.

Publishing, clipping and elementwise update rules then are a handful of vector operations, whatever
the number of layers. Tied parameters appear once; frozen ones are left where they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlcore.learners.errors import ParameterError


class FlatParameters:
    """Moves the trainable parameters of ``module`` into one vector.

    Args:
        module: Its parameters become views; they keep their values.
        theta: Vector to use (its values are overwritten); a fresh one if ``None``.

    Raises:
        ParameterError: There is none, or they differ in dtype or device, or one is not real.
    """

    def __init__(self, module: nn.Module, theta: Tensor | None = None) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise ParameterError(f"{type(module).__name__} has no trainable parameter")
        first = named[0][1]
        for name, parameter in named:
            if not parameter.is_floating_point():
                raise ParameterError(f"parameter {name!r} is {parameter.dtype}; wanted a float")
            if parameter.dtype != first.dtype or parameter.device != first.device:
                raise ParameterError(
                    f"parameter {name!r} is {parameter.dtype} on {parameter.device}; wanted "
                    f"{first.dtype} on {first.device} as {named[0][0]!r}"
                )
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.bounds = [0]
        for parameter in self.parameters:
            self.bounds.append(self.bounds[-1] + parameter.numel())
        size = self.bounds[-1]
        if theta is None:
            theta = torch.empty(size, dtype=first.dtype, device=first.device)
        elif theta.numel() != size:
            raise ParameterError(f"theta has {theta.numel()} entries; wanted {size}")
        self.theta = theta
        self.grad = torch.zeros_like(theta)
        self._grad_views = self.views(self.grad)
        for parameter, view in zip(self.parameters, self.views(theta), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return views of ``flat`` in the shapes of the parameters."""
        return [
            flat[a:b].view(p.shape)
            for a, b, p in zip(self.bounds, self.bounds[1:], self.parameters, strict=False)
        ]

    def gather(self, grads: Mapping[str, Tensor]) -> list[int] | None:
        """Copy gradients by name into ``grad``; absent ones become 0.

        Returns:
            Indices of the parameters that have one, or ``None`` where all have.
        """
        if len(grads) == len(self.names):
            torch._foreach_copy_(self._grad_views, [grads[name] for name in self.names])
            return None
        self.grad.zero_()
        present = [i for i, name in enumerate(self.names) if name in grads]
        for i in present:
            self._grad_views[i].copy_(grads[self.names[i]])
        return present
