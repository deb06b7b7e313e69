"""Root-mean-square norm (Zhang and Sennrich 2019), with the addition to the residual stream."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, overload

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend
from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here
ELEMENTS = 2048
"""Elements of one program: several rows where they are short."""


@overload
def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: None = None,
    *,
    float32: bool = False,
    backend: Backend = "auto",
) -> Tensor: ...


@overload
def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor,
    *,
    float32: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]: ...


def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    residual: Tensor | None = None,
    *,
    float32: bool = False,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Return ``weight * x / sqrt(mean(x^2) + eps)`` over the last axis.

    Statistics of half precision are taken in float32. The normed ``x`` is rounded to its dtype
    before it meets the weight, as in the code of published checkpoints.

    Args:
        x: ``[..., D]``.
        weight: ``[D]``.
        eps: Added to the mean square.
        residual: ``[..., D]``, added to ``x`` first.
        float32: Whether the statistics of float64 are taken in float32 too.
        backend: See :mod:`rlcore.ops.backends`. Only ``reference`` and ``torch`` have gradients:
            ``auto`` takes ``torch`` where one is wanted.

    Returns:
        The normed ``[..., D]``; with a residual, that and the sum.

    Raises:
        ConfigError: Shapes do not fit, or the backend cannot run here.
    """
    if weight.shape != x.shape[-1:] or (residual is not None and residual.shape != x.shape):
        shapes = [None if t is None else tuple(t.shape) for t in (x, weight, residual)]
        raise ConfigError(
            "rms_norm wants x [..., D], weight [D] and a residual of x's shape, got "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    chosen = fused_backend(backend, x, weight, residual, numba=True)
    if chosen == "triton":
        normed, total = _norm_triton(x, weight, eps, residual)
    elif chosen == "numba":
        from rlcore.ops.norm_numba import rms_norm_numba

        if float32 and x.dtype == torch.float64:
            raise ConfigError("backend 'numba' takes the statistics of float64 in float64 only")
        total = x if residual is None else x + residual
        normed = rms_norm_numba(total, weight, eps)
    else:
        total = x if residual is None else x + residual
        function = _norm_reference if chosen == "reference" else _norm_torch
        normed = function(total, weight, eps, float32)
    return normed if residual is None else (normed, total)


def fused_backend(
    backend: Backend, x: Tensor, *others: Tensor | None, numba: bool = False
) -> Backend:
    """Return the backend of an operation whose kernels have no gradient.

    While ``torch.compile`` traces, ``auto`` is ``torch``: the compiler fuses by itself.

    Args:
        backend: What was asked for.
        x: A tensor of the operation's device and dtype.
        others: Further inputs that may want a gradient.
        numba: Whether the operation has a numba backend.

    Raises:
        ConfigError: A kernel is asked for where a gradient is wanted, or that does not exist.
    """
    wanted = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, *others)
    )
    if backend == "auto" and (wanted or torch.compiler.is_compiling()):
        backend = "torch"
    chosen = resolve_backend(backend, x, triton_dtypes=HALF_AND_SINGLE)
    if chosen in ("triton", "numba") and wanted:
        raise ConfigError(
            f"backend {chosen!r} of this operation has no gradient; got an input that requires "
            "one: use backend='torch'"
        )
    if chosen == "numba" and not numba:
        raise ConfigError("this operation has no numba backend; wanted reference, torch or triton")
    return chosen


def _norm_torch(x: Tensor, weight: Tensor, eps: float, float32: bool) -> Tensor:
    wide = x if x.dtype == torch.float64 and not float32 else x.float()
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    # Under autocast the weight is wider than the tokens, which keep their dtype.
    return (weight * normed.to(x.dtype)).to(x.dtype)


def _norm_reference(x: Tensor, weight: Tensor, eps: float, float32: bool) -> Tensor:
    """One row at a time."""
    rows = []
    for row in x.flatten(0, -2) if x.dim() > 1 else x[None]:
        wide = row if row.dtype == torch.float64 and not float32 else row.float()
        mean_square = (wide * wide).sum() / len(row)
        normed = (wide / torch.sqrt(mean_square + eps)).to(x.dtype)
        rows.append((weight * normed).to(x.dtype))
    return torch.stack(rows).view(x.shape) if rows else x * weight


def _norm_kernel(  # type: ignore[no-untyped-def]
    x_ptr, residual_ptr, weight_ptr, out_ptr, sum_ptr, rows, dim, eps,
    ADD: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Each program norms ``ROWS`` rows; they stay in registers."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    mask = (row < rows)[:, None] & (column < dim)[None, :]
    at = row.to(tl.int64)[:, None] * dim + column[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    if ADD:
        x = (x.to(tl.float32) + tl.load(residual_ptr + at, mask=mask, other=0.0)).to(x.dtype)
        tl.store(sum_ptr + at, x, mask=mask)
    wide = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 1) / dim + eps)
    normed = (wide * scale[:, None]).to(x.dtype).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=column < dim, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (normed * weight[None, :]).to(x.dtype), mask=mask)


@cache
def _kernel() -> Any:
    return jitted(_norm_kernel, release_next, wait_for_inputs)


def _norm_triton(
    x: Tensor, weight: Tensor, eps: float, residual: Tensor | None
) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    out = torch.empty_like(x)
    total = x if residual is None else torch.empty_like(x)
    dim = x.shape[-1]
    rows = math.prod(x.shape[:-1])
    width = 1 << (dim - 1).bit_length()
    together = max(1, ELEMENTS // width) if rows > 1 else 1
    if rows:
        _kernel()[(-(-rows // together),)](
            x, None if residual is None else residual.contiguous(), weight.contiguous(), out, total,
            rows, dim, eps, ADD=residual is not None, ROWS=together, WIDTH=width, num_warps=4,
            **launch_options(x.device),
        )  # fmt: skip
    return out, total
