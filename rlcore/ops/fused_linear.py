"""Linear layers with what stands before and after them in a transformer block.

With few rows a linear layer is bound by the reading of its weights and by the time to start a
kernel, so the norm before it, the gate or the addition after it ride along. With many rows the
matrix product is the library's, and the addition rides along; so does the gate of narrow rows:

=====================  ============================================
``norm_linear``        ``rms_norm(x) W^T + b``
``norm_gated_linear``  ``silu(rms_norm(x) W_g^T) * (rms_norm(x) W_u^T)``
``linear_add``         ``residual + x W^T``
=====================  ============================================

Legend: ``N`` rows, ``D`` input width, ``F`` output width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.ops.backends import Backend
from rlcore.ops.norm import fused_backend, rms_norm
from rlcore.ops.swiglu import silu_mul

FUSED_NORM_ROWS = 16
"""With more rows two kernels, the norm and the library's matrix product, are faster than one."""

FUSED_GATE_ROWS = 4
"""With more rows three kernels, norm, product and gate, are: a program's two sums share its tiles.

A decode step of 12 layers on an H100: 365 against 527 us at 8 rows, 486 against 542 at 64.
"""

MANY_GATE_ROWS, NARROW = 512, 768
"""With so many rows of at most this width the gate rides along again: not the product but the
memory that gates and others pass through is what takes the time.

On an H100 142 against 193 us for 65,536 rows of 256, 397 against 497 for 512, even at 1,024.
"""

FUSED_ADD_ROWS = 64
"""With more rows the library's product, which adds what stands in its output, is faster."""


def norm_linear(
    x: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Return the linear layer of the RMS-normed rows.

    Args:
        x: ``[N, D]``.
        norm_weight: ``[D]``.
        eps: Added to the mean square.
        weight: ``[F, D]``.
        bias: ``[F]``.
        backend: See :mod:`rlcore.ops.backends`. Only ``reference`` and ``torch`` have gradients:
            ``auto`` takes ``torch`` where one is wanted.

    Returns:
        ``[N, F]``. With few rows the kernel sums ``x * norm_weight`` and scales the sum by the
        row's norm, where the other backends round the normed row first.

    Raises:
        ConfigError: Shapes do not fit, or the backend cannot run here.
    """
    _check("norm_linear", x, weight, {"norm_weight": (norm_weight, weight.shape[1:])})
    chosen = fused_backend(backend, x, norm_weight, weight, bias)
    if chosen == "triton":
        from rlcore.ops.fused_linear_triton import fused_linear_triton

        if x.shape[0] > FUSED_NORM_ROWS:
            return F.linear(rms_norm(x, norm_weight, eps, backend="triton"), weight, bias)
        return fused_linear_triton(x, weight, norm=(norm_weight, eps), bias=bias)
    normed = rms_norm(x, norm_weight, eps, backend=chosen)
    if chosen == "reference":
        out = _linear_reference(normed, weight)
        return out if bias is None else out + bias
    return F.linear(normed, weight, bias)


def norm_gated_linear(
    x: Tensor, norm_weight: Tensor, eps: float, weight: Tensor, *, backend: Backend = "auto"
) -> Tensor:
    """Return the gated linear layer of the RMS-normed rows (Shazeer 2020, SwiGLU).

    Args:
        x: ``[N, D]``.
        norm_weight: ``[D]``.
        eps: Added to the mean square.
        weight: ``[2 F, D]``: the gate's rows, then the others.
        backend: As for :func:`norm_linear`.

    Returns:
        ``[N, F]``.

    Raises:
        ConfigError: Shapes do not fit, or the backend cannot run here.
    """
    _check("norm_gated_linear", x, weight, {"norm_weight": (norm_weight, weight.shape[1:])})
    if weight.shape[0] % 2:
        raise ConfigError(
            f"norm_gated_linear wants weight [2 F, D], got shape {tuple(weight.shape)}"
        )
    chosen = fused_backend(backend, x, norm_weight, weight)
    if chosen == "triton":
        from rlcore.ops.fused_linear_triton import fused_linear_triton

        if x.shape[0] > FUSED_GATE_ROWS:
            normed = rms_norm(x, norm_weight, eps, backend="triton")
            many = x.shape[0] >= MANY_GATE_ROWS and x.shape[1] <= NARROW
            if many and x.dtype.itemsize == 2:
                return fused_linear_triton(normed, weight, gated=True)
            return silu_mul(F.linear(normed, weight), backend="triton")
        return fused_linear_triton(x, weight, norm=(norm_weight, eps), gated=True)
    normed = rms_norm(x, norm_weight, eps, backend=chosen)
    if chosen == "reference":
        return silu_mul(_linear_reference(normed, weight), backend="reference")
    return silu_mul(F.linear(normed, weight), backend="torch")


def linear_add(
    x: Tensor,
    weight: Tensor,
    residual: Tensor,
    *,
    overwrite: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Return the residual stream after a linear layer.

    Args:
        x: ``[N, D]``.
        weight: ``[F, D]``.
        residual: ``[N, F]``.
        overwrite: Whether the result may be written over ``residual``, which saves a copy of it.
        backend: As for :func:`norm_linear`.

    Returns:
        ``[N, F]``.

    Raises:
        ConfigError: Shapes do not fit, or the backend cannot run here.
    """
    _check("linear_add", x, weight, {"residual": (residual, (x.shape[0], weight.shape[0]))})
    chosen = fused_backend(backend, x, weight, residual)
    if chosen == "triton":
        from rlcore.ops.fused_linear_triton import fused_linear_triton

        if x.shape[0] <= FUSED_ADD_ROWS:
            return fused_linear_triton(x, weight, residual=residual)
    if chosen == "reference":
        return residual + _linear_reference(x, weight)
    if overwrite:
        return residual.addmm_(x, weight.t())
    return torch.addmm(residual, x, weight.t())


def _linear_reference(x: Tensor, weight: Tensor) -> Tensor:
    return (x[:, None, :] * weight[None, :, :]).sum(-1)


def _check(
    name: str, x: Tensor, weight: Tensor, others: dict[str, tuple[Tensor, tuple[int, ...]]]
) -> None:
    if x.dim() != 2 or weight.dim() != 2 or x.shape[1] != weight.shape[1]:
        raise ConfigError(
            f"{name} wants x [N, D] and weight [F, D], got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    for other, (tensor, shape) in others.items():
        if tuple(tensor.shape) != tuple(shape):
            raise ConfigError(
                f"{name} wants {other} of shape {tuple(shape)}, got {tuple(tensor.shape)}"
            )
