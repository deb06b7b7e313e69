"""The linear layers of few rows as CUDA kernels: a dot product a row, or tiles of a matrix product.

A kernel may start before the one before it has ended (programmatic dependent launch): it loads its
first weights, which nobody writes, and waits only then for its input.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from torch import Tensor

from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here


class Tiling(NamedTuple):
    """Sizes of a program's tile ``[rows, columns]`` and its step along the inputs."""

    rows: int
    columns: int
    step: int
    warps: int
    stages: int = 3


def tiling(rows: int, inputs: int, outputs: int, gated: bool = False) -> Tiling:
    """Return the tile for ``[rows, inputs] x [inputs, outputs]``.

    Measured on an H100 over the shapes of a 40 M transformer
    (:mod:`experiments.bench.decode_tiles_gpu`); small tiles make many programs.
    """
    if rows <= 4:
        return Tiling(1, 4 if outputs < 2048 else 8, min(2048, 1 << (inputs - 1).bit_length()), 4)
    if rows <= 16:
        return Tiling(16, 16, 256, 4)
    if gated:
        return Tiling(128, 64, 64, 8) if rows >= 512 else Tiling(32, 32, 128, 4)
    return Tiling(64, 16, 128, 4, 4)


def _finish(  # type: ignore[no-untyped-def]
    acc, up, square, residual_ptr, bias_ptr, place, column, mask, inputs, eps, outputs,
    NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """Return what is stored for the sums ``[rows, columns]``."""
    if NORM:
        scale = tl.rsqrt(square / inputs + eps)[:, None]
        acc = acc * scale
        if GATED:
            up = up * scale
    if BIAS:
        bias = tl.load(bias_ptr + column, mask=column < outputs, other=0.0)
        acc = acc + bias.to(tl.float32)[None, :]
    if GATED:
        acc = acc / (1.0 + tl.exp(-acc)) * up
    if ADD:
        acc = acc + tl.load(residual_ptr + place, mask=mask, other=0.0).to(tl.float32)
    return acc


def _dot_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, norm_ptr, residual_ptr, bias_ptr, out_ptr, rows, inputs, outputs, eps,
    NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, BIAS: tl.constexpr,
    COLUMNS: tl.constexpr, STEP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """One row times ``COLUMNS`` rows of the weights; sums stay on the threads that load."""
    release_next(EARLY)
    row = tl.program_id(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    here = column < outputs
    acc = tl.zeros((COLUMNS,), tl.float32)
    up = tl.zeros((COLUMNS,), tl.float32)
    square = tl.zeros((1,), tl.float32)
    for start in range(0, inputs, STEP):
        i = start + tl.arange(0, STEP)
        inside = i < inputs
        place = column[:, None] * inputs + i[None, :]
        mask = here[:, None] & inside[None, :]
        w = tl.load(weight_ptr + place, mask=mask, other=0.0).to(tl.float32)
        if GATED:
            u = tl.load(weight_ptr + outputs * inputs + place, mask=mask, other=0.0)
        if NORM:
            scale = tl.load(norm_ptr + i, mask=inside, other=0.0).to(tl.float32)
        if start == 0:
            wait_for_inputs(EARLY)
        x = tl.load(x_ptr + row * inputs + i, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            square += tl.sum(x * x, 0)
            x = x * scale
        acc += tl.sum(w * x[None, :], 1)
        if GATED:
            up += tl.sum(u.to(tl.float32) * x[None, :], 1)
    place = (row * outputs + column)[None, :]
    out = _finish(
        acc[None, :], up[None, :], square, residual_ptr, bias_ptr, place, column, here[None, :],
        inputs, eps, outputs, NORM, GATED, ADD, BIAS,
    )  # fmt: skip
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=here[None, :])


def _tile_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, norm_ptr, residual_ptr, bias_ptr, out_ptr, rows, inputs, outputs, eps,
    NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, BIAS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A tile ``[ROWS, COLUMNS]`` of the product, on the tensor cores."""
    release_next(EARLY)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    acc = tl.zeros((ROWS, COLUMNS), tl.float32)
    up = tl.zeros((ROWS, COLUMNS), tl.float32)
    square = tl.zeros((ROWS,), tl.float32)
    wait_for_inputs(EARLY)
    for start in range(0, inputs, STEP):
        i = start + tl.arange(0, STEP)
        place = column[:, None] * inputs + i[None, :]
        mask = (column < outputs)[:, None] & (i < inputs)[None, :]
        w = tl.load(weight_ptr + place, mask=mask, other=0.0)
        x = tl.load(
            x_ptr + row.to(tl.int64)[:, None] * inputs + i[None, :],
            mask=(row < rows)[:, None] & (i < inputs)[None, :],
            other=0.0,
        )
        if NORM:
            wide = x.to(tl.float32)
            square += tl.sum(wide * wide, 1)
            scale = tl.load(norm_ptr + i, mask=i < inputs, other=0.0).to(tl.float32)
            x = (wide * scale[None, :]).to(x.dtype)
        acc = tl.dot(x, tl.trans(w), acc, input_precision="ieee")
        if GATED:
            u = tl.load(weight_ptr + outputs * inputs + place, mask=mask, other=0.0)
            up = tl.dot(x, tl.trans(u), up, input_precision="ieee")
    place = row.to(tl.int64)[:, None] * outputs + column[None, :]
    mask = (row < rows)[:, None] & (column < outputs)[None, :]
    out = _finish(
        acc, up, square, residual_ptr, bias_ptr, place, column, mask, inputs, eps, outputs,
        NORM, GATED, ADD, BIAS,
    )  # fmt: skip
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=mask)


@cache
def _kernels() -> tuple[Any, Any]:
    parts = (wait_for_inputs, release_next, _finish)
    return jitted(_dot_kernel, *parts), jitted(_tile_kernel, *parts)


def fused_linear_triton(
    x: Tensor,
    weight: Tensor,
    *,
    norm: tuple[Tensor, float] | None = None,
    gated: bool = False,
    residual: Tensor | None = None,
    bias: Tensor | None = None,
    tile: Tiling | None = None,
    early: bool | None = None,
) -> Tensor:
    """Return ``[N, F]``; see :mod:`rlcore.ops.fused_linear`.

    Args:
        x: ``[N, D]``.
        weight: ``[F, D]``, or ``[2 F, D]`` with a gate.
        norm: Weight ``[D]`` and epsilon of the norm of ``x``.
        gated: Whether the first half of the outputs gates the second.
        residual: ``[N, F]``, added.
        bias: ``[F]``, added.
        tile: Sizes to use in place of :func:`tiling`'s.
        early: Whether to start before the kernel before has ended; by default where it is possible.
    """
    x, weight = x.contiguous(), weight.contiguous()
    rows, inputs = x.shape
    outputs = weight.shape[0] // 2 if gated else weight.shape[0]
    out = x.new_empty(rows, outputs)
    if rows == 0 or outputs == 0:
        return out
    sizes = tiling(rows, inputs, outputs, gated) if tile is None else tile
    norm_weight, eps = (None, 0.0) if norm is None else norm
    arguments = (
        x, weight, norm_weight, None if residual is None else residual.contiguous(), bias, out,
        rows, inputs, outputs, eps,
    )  # fmt: skip
    flags = {
        "NORM": norm is not None, "GATED": gated, "ADD": residual is not None,
        "BIAS": bias is not None, "COLUMNS": sizes.columns, "STEP": sizes.step,
        "num_warps": sizes.warps, "num_stages": sizes.stages, **launch_options(x.device, early),
    }  # fmt: skip
    columns = -(-outputs // sizes.columns)
    if sizes.rows == 1:
        _kernels()[0][(columns, rows)](*arguments, **flags)
    else:
        grid = (columns, -(-rows // sizes.rows))
        _kernels()[1][grid](*arguments, ROWS=sizes.rows, **flags)
    return out
