"""The linear recurrence as one fused CUDA kernel (package triton, part of CUDA builds of torch)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

tl: Any = None  # triton.language, bound when the kernel is first built: kernels look names up here
BLOCK = 128
"""Columns of one program: four warps, one column a thread."""


def _recurrence_kernel(decay_ptr, inputs_ptr, out_ptr, steps, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Each program walks its block of columns backwards in time; all of it stays in registers."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    x = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in range(steps):
        row = (steps - 1 - i).to(tl.int64) * width + column
        a = tl.load(decay_ptr + row, mask=mask, other=0.0)
        b = tl.load(inputs_ptr + row, mask=mask, other=0.0)
        x = tl.where(i == 0, b, a * x + b)
        tl.store(out_ptr + row, x, mask=mask)


@cache
def _compiled() -> Any:
    global tl
    import triton
    import triton.language

    tl = triton.language
    return triton.jit(_recurrence_kernel)


def recurrence_triton(decay: Tensor, inputs: Tensor) -> Tensor:
    """Return the recurrence of CUDA tensors; see :func:`rlcore.ops.scan.linear_recurrence`."""
    decay, inputs = decay.contiguous(), inputs.contiguous()
    out = torch.empty_like(inputs)
    steps, width = inputs.shape
    grid = ((width + BLOCK - 1) // BLOCK,)
    if width:
        _compiled()[grid](decay, inputs, out, steps, width, BLOCK=BLOCK)
    return out
