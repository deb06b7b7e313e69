"""A module's trainable parameters as views of one flat vector.

Publishing, clipping and elementwise update rules then are a handful of vector operations, whatever
the number of layers. Tied parameters appear once; frozen ones are left where they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlcore.learners.errors import ParameterError

ALIGNMENT = 64
"""Bytes: each parameter starts at a multiple, as kernels for matrix products want it."""


class FlatParameters:
    """Moves the trainable parameters of ``module`` into one vector, in the order of their names.

    Between two parameters lie up to 63 bytes of padding, which are 0 and stay 0.

    Args:
        module: Its parameters become views; they keep their values.
        theta: Vector of :func:`flat_size` entries to use (its values are overwritten); a fresh
            one if ``None``.

    Attributes:
        names: Names of the trainable parameters.
        parameters: The parameters themselves.
        bounds: Parameter ``i`` starts at entry ``bounds[i]``; the last one is the vector's size.
        theta: The vector.
        grad: A vector of the same layout for gradients.

    Raises:
        ParameterError: There is none, one is not real, they differ in dtype or device, or
            ``theta`` does not fit them.
    """

    def __init__(self, module: nn.Module, theta: Tensor | None = None) -> None:
        named = _trainable(module)
        first = named[0][1]
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.bounds = _bounds(self.parameters)
        if theta is None:
            theta = torch.empty(self.bounds[-1], dtype=first.dtype, device=first.device)
        self.check_vector(theta)
        self.theta = theta
        self.grad = torch.zeros_like(theta)
        self._grad_views = self.views(self.grad)
        values = [p.detach().clone() for p in self.parameters]
        theta.zero_()
        for parameter, value, view in zip(self.parameters, values, self.views(theta), strict=True):
            view.copy_(value)
            parameter.data = view
        self._places = [(p.data_ptr(), p.shape) for p in self.parameters]

    def check_vector(self, theta: Tensor) -> None:
        """Check that ``theta`` can hold the parameters.

        Raises:
            ParameterError: Its size, layout, dtype or device is another one.
        """
        first, size = self.parameters[0], self.bounds[-1]
        if theta.dim() != 1 or theta.numel() != size or not theta.is_contiguous():
            raise ParameterError(
                f"theta has shape {tuple(theta.shape)}; wanted {size} contiguous entries"
            )
        if theta.dtype != first.dtype or theta.device != first.device:
            raise ParameterError(
                f"theta is {theta.dtype} on {theta.device}; wanted {first.dtype} on "
                f"{first.device} as {self.names[0]!r}"
            )

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return views of ``flat`` in the shapes of the parameters."""
        return [
            flat[start : start + p.numel()].view(p.shape)
            for start, p in zip(self.bounds, self.parameters, strict=False)
        ]

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Return views of ``flat`` by parameter name."""
        return dict(zip(self.names, self.views(flat), strict=True))

    def check_places(self) -> None:
        """Check that the module's parameters still are views of ``theta``.

        Raises:
            ParameterError: One was given other memory or another shape, as ``module.to(...)`` or
                ``parameter.data = ...`` do.
        """
        for name, parameter, (place, shape) in zip(
            self.names, self.parameters, self._places, strict=True
        ):
            if parameter.shape != shape:
                raise ParameterError(
                    f"parameter {name!r} has shape {tuple(parameter.shape)}; it had "
                    f"{tuple(shape)} when the learner was made"
                )
            if parameter.data_ptr() != place:
                raise ParameterError(
                    f"parameter {name!r} was moved to other memory after the learner was made: "
                    "change its values in place, or make a new learner"
                )

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


def flat_size(module: nn.Module) -> int:
    """Return how many entries the flat vector of ``module`` has."""
    return _bounds([p for _, p in _trainable(module)])[-1]


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the trainable parameters by name; tied ones once."""
    named = list(module.named_parameters())
    for name, parameter in named:
        if not parameter.is_floating_point():
            raise ParameterError(
                f"parameter {name!r} is {parameter.dtype}; wanted a real floating-point dtype "
                "(register other tensors as buffers)"
            )
    named = [(name, p) for name, p in named if p.requires_grad]
    if not named:
        raise ParameterError(f"{type(module).__name__} has no trainable parameter")
    first = named[0][1]
    for name, parameter in named:
        if parameter.dtype != first.dtype or parameter.device != first.device:
            raise ParameterError(
                f"parameter {name!r} is {parameter.dtype} on {parameter.device}; wanted "
                f"{first.dtype} on {first.device} as {named[0][0]!r}"
            )
    return named


def _bounds(parameters: list[nn.Parameter]) -> list[int]:
    step = max(1, ALIGNMENT // parameters[0].element_size())
    bounds = [0]
    for parameter in parameters:
        bounds.append(-(-(bounds[-1] + parameter.numel()) // step) * step)
    return bounds
