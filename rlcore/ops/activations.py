"""Activations that are faster than torch's on a CPU, with their twins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _by_sigmoid(x: Tensor) -> Tensor:
    return torch.mul(x, 2.0).sigmoid_().mul_(2.0).sub_(1.0)


class _FastTanh(torch.autograd.Function):
    """``tanh(x) = 2 sigmoid(2x) - 1``: torch vectorises the sigmoid five times better."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _by_sigmoid(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(grad, y)  # type: ignore[no-any-return]


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent of ``x``.

    On the CPU the result differs from ``torch.tanh`` by at most a few units in the last place of 1
    (2e-7 in float32), at a fifth of the cost; elsewhere it is ``torch.tanh``.
    """
    if x.device.type != "cpu":
        return torch.tanh(x)
    if not torch.is_grad_enabled():
        return _by_sigmoid(x)  # without the bookkeeping of a differentiable function
    result: Tensor = _FastTanh.apply(x)  # type: ignore[no-untyped-call]
    return result


class _DenseTanh(torch.autograd.Function):
    """``tanh(x W^T + b)`` in as few passes over memory as torch's operators allow."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # tanh(z) = 2 sigmoid(2z) - 1; doubling the parameters doubles z exactly, and costs less.
        doubled = torch.addmm(bias * 2.0, x, (weight * 2.0).t())
        return doubled.sigmoid_().mul_(2.0).sub_(1.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight, y = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        inner = torch.ops.aten.tanh_backward(grad, y)
        outputs, inputs = weight.shape
        # A product of two tall matrices runs several times faster with the narrower one first.
        narrow_input = inputs < outputs
        grad_weight = None
        if wants_weight:
            grad_weight = x.t().mm(inner).t() if narrow_input else inner.t().mm(x)
        return (
            inner.mm(weight) if wants_x else None,
            grad_weight,
            inner.sum(0) if wants_bias else None,
        )


def dense_tanh(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``tanh(x @ weight.T + bias)``; on the CPU bit for bit ``tanh`` of this module.

    Args:
        x: ``[N, inputs]``.
        weight: ``[outputs, inputs]``.
        bias: ``[outputs]``.
    """
    if x.device.type != "cpu":
        return torch.tanh(torch.nn.functional.linear(x, weight, bias))
    if not torch.is_grad_enabled():
        return _DenseTanh.forward(x, weight, bias)
    result: Tensor = _DenseTanh.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result
