"""The gate of a SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.ops.backends import Backend
from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.norm import fused_backend
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here
BLOCK = 1024
"""Elements of one program."""


def silu_mul(gate_up: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Return ``silu(gate) * up`` of the two halves of the last axis.

    Args:
        gate_up: ``[..., 2 F]``: all gates, then all others.
        backend: See :mod:`rlcore.ops.backends`. Only ``reference`` and ``torch`` have gradients:
            ``auto`` takes ``torch`` where one is wanted.

    Raises:
        ConfigError: The last axis is odd, or the backend cannot run here.
    """
    if gate_up.shape[-1] % 2:
        raise ConfigError(f"silu_mul wants an even last axis, got shape {tuple(gate_up.shape)}")
    chosen = fused_backend(backend, gate_up)
    if chosen == "triton":
        return _silu_mul_triton(gate_up)
    gate, up = gate_up.chunk(2, -1)
    if chosen == "reference":
        return gate / (1 + torch.exp(-gate)) * up
    return F.silu(gate) * up


def _silu_mul_kernel(  # type: ignore[no-untyped-def]
    in_ptr, out_ptr, half, BLOCK: tl.constexpr, EARLY: tl.constexpr
):
    release_next(EARLY)
    wait_for_inputs(EARLY)
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < half
    gate = tl.load(in_ptr + row * 2 * half + column, mask=mask, other=0.0)
    up = tl.load(in_ptr + row * 2 * half + half + column, mask=mask, other=0.0).to(tl.float32)
    wide = gate.to(tl.float32)
    out = wide / (1.0 + tl.exp(-wide)) * up
    tl.store(out_ptr + row * half + column, out.to(gate.dtype), mask=mask)


@cache
def _kernel() -> Any:
    return jitted(_silu_mul_kernel, release_next, wait_for_inputs)


def _silu_mul_triton(gate_up: Tensor) -> Tensor:
    gate_up = gate_up.contiguous()
    half = gate_up.shape[-1] // 2
    rows = math.prod(gate_up.shape[:-1])
    out = gate_up.new_empty(*gate_up.shape[:-1], half)
    if rows and half:
        _kernel()[(rows, -(-half // BLOCK))](
            gate_up, out, half, BLOCK=BLOCK, num_warps=4, **launch_options(gate_up.device)
        )
    return out
