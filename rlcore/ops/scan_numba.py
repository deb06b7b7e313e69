"""The linear recurrence as one compiled loop over memory (optional package numba)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _recurrence(decay: Any, inputs: Any, out: Any) -> None:
    steps, width = inputs.shape
    for b in range(width):
        out[steps - 1, b] = inputs[steps - 1, b]
    for t in range(steps - 2, -1, -1):
        for b in range(width):
            out[t, b] = inputs[t, b] + decay[t, b] * out[t + 1, b]


@cache
def _compiled() -> Callable[..., None]:
    import numba

    compiled: Callable[..., None] = numba.njit(nogil=True)(_recurrence)
    return compiled


def recurrence_numba(decay: Tensor, inputs: Tensor) -> Tensor:
    """Return the recurrence of CPU tensors; see :func:`rlcore.ops.scan.linear_recurrence`."""
    source = inputs.detach().numpy()
    out = np.empty(source.shape, source.dtype)
    _compiled()(decay.detach().numpy(), source, out)
    return torch.from_numpy(out)
