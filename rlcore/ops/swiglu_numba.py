"""The gate of a SwiGLU as one compiled loop (optional package numba)."""

from __future__ import annotations

from functools import cache
from typing import Any

from rlcore.ops.exp_numba import exponentials
from rlcore.ops.numba_jit import compiled


def _gate(gate_up: Any, out: Any) -> None:
    half = out.shape[1]
    one = out.dtype.type(1)
    for n in range(len(out)):
        gate, up, row = gate_up[n, :half], gate_up[n, half:], out[n]
        for i in range(half):
            row[i] = -gate[i]
        exponentials(row)
        for i in range(half):
            row[i] = gate[i] / (one + row[i]) * up[i]


@cache
def gate_kernel() -> Any:
    """Return the compiled ``(gate_up [N, 2 F], out [N, F])``."""
    return compiled(_gate, exponentials)
