"""V-trace as one fused CUDA kernel (package triton, part of CUDA builds of torch).

Ten floating-point operations and about 26 bytes of traffic for each ``(t, b)``: the kernel is
bound by memory, so everything between the loads and the two stores stays in registers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

tl: Any = None  # triton.language, bound when the kernel is first built: kernels look names up here
BLOCK = 128
"""Columns of one program: four warps, one column a thread."""


def _vtrace_kernel(  # type: ignore[no-untyped-def]
    log_rhos_ptr,
    rewards_ptr,
    values_ptr,
    next_values_ptr,
    terminated_ptr,
    truncated_ptr,
    vs_ptr,
    advantages_ptr,
    steps,
    width,
    gamma,
    lam,
    rho_bar,
    c_bar,
    rho_pg_bar,
    BLOCK: tl.constexpr,
):
    """Each program walks its block of columns backwards in time."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    excess = tl.zeros((BLOCK,), dtype=tl.float32)  # v_{t+1} - V(x_{t+1})
    v_after = tl.zeros((BLOCK,), dtype=tl.float32)  # v_{t+1}
    for i in range(steps):
        row = (steps - 1 - i).to(tl.int64) * width + column
        weight = tl.exp(tl.load(log_rhos_ptr + row, mask=mask, other=0.0))
        reward = tl.load(rewards_ptr + row, mask=mask, other=0.0)
        value = tl.load(values_ptr + row, mask=mask, other=0.0)
        after = tl.load(next_values_ptr + row, mask=mask, other=0.0)
        ended = tl.load(terminated_ptr + row, mask=mask, other=0) != 0
        cut = ended | (tl.load(truncated_ptr + row, mask=mask, other=0) != 0) | (i == 0)

        # where(weight > bar, bar, weight) keeps NaN, which a minimum may drop.
        rho = tl.where(weight > rho_bar, rho_bar, weight)
        c = tl.where(weight > c_bar, c_bar, weight)
        rho_pg = tl.where(weight > rho_pg_bar, rho_pg_bar, weight)
        after = tl.where(ended, 0.0, after)
        trace = tl.where(cut, 0.0, gamma * lam * c * excess)
        masked = weight == 0.0  # such a row may hold NaN, which a product with 0 would keep
        excess = tl.where(masked, 0.0, rho * (reward + gamma * after - value) + trace)
        q = reward + gamma * tl.where(cut, after, v_after)
        v_after = value + excess
        tl.store(vs_ptr + row, v_after, mask=mask)
        advantage = tl.where(masked, 0.0, rho_pg * (q - value))
        tl.store(advantages_ptr + row, advantage, mask=mask)


@cache
def _compiled() -> Any:
    global tl
    import triton
    import triton.language

    tl = triton.language
    return triton.jit(_vtrace_kernel)


def vtrace_triton(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *levels: float,
) -> tuple[Tensor, Tensor]:
    """Return ``(vs, pg_advantages)`` of CUDA tensors; see :func:`rlcore.ops.returns.vtrace`."""
    floats = [a.contiguous() for a in (log_rhos, rewards, values, next_values)]
    flags = [a.contiguous().view(torch.uint8) for a in (terminated, truncated)]
    vs, advantages = torch.empty_like(floats[2]), torch.empty_like(floats[2])
    steps, width = vs.shape
    grid = ((width + BLOCK - 1) // BLOCK,)
    if width:
        _compiled()[grid](
            *floats, *flags, vs, advantages, steps, width, *(float(x) for x in levels), BLOCK=BLOCK
        )
    return vs, advantages
