"""RMS norm as one compiled loop over memory (optional package numba)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlcore.ops.numba_jit import compiled


def _rms_norm(x: Any, weight: Any, eps: Any, out: Any) -> None:
    rows, width = x.shape
    for r in range(rows):
        total = x.dtype.type(0)
        for d in range(width):
            total += x[r, d] * x[r, d]
        scale = x.dtype.type(1.0 / math.sqrt(total / width + eps))
        for d in range(width):
            out[r, d] = weight[d] * (x[r, d] * scale)


@cache
def norm_kernel() -> Any:
    """Return the compiled ``(x [N, D], weight [D], eps, out [N, D])``."""
    return compiled(_rms_norm)


def rms_norm_numba(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return the normed ``[..., D]`` of CPU tensors; see :func:`rlcore.ops.norm.rms_norm`."""
    source = x.detach().contiguous().numpy()
    out = np.empty_like(source)
    width = source.shape[-1]
    if source.size:
        rows = source.reshape(-1, width)
        norm_kernel()(rows, weight.detach().numpy(), eps, out.reshape(-1, width))
    return torch.from_numpy(out)
