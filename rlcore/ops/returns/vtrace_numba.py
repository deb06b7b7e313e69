"""V-trace as one compiled loop over memory (optional package numba)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _vtrace(
    ratio: Any,
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    levels: Any,
    vs: Any,
    advantages: Any,
) -> None:
    gamma, lam, rho_bar, c_bar, rho_pg_bar = levels
    steps, width = values.shape
    for t in range(steps - 1, -1, -1):
        for b in range(width):
            # `bar if ratio > bar else ratio` keeps NaN, min() would drop it.
            weight = ratio[t, b]
            if weight == 0.0:  # a masked row may hold NaN
                vs[t, b], advantages[t, b] = values[t, b], 0.0
                continue
            rho = rho_bar if weight > rho_bar else weight
            c = c_bar if weight > c_bar else weight
            rho_pg = rho_pg_bar if weight > rho_pg_bar else weight
            after = 0.0 if terminated[t, b] else next_values[t, b]
            excess = rho * (rewards[t, b] + gamma * after - values[t, b])
            if t + 1 < steps and not (terminated[t, b] or truncated[t, b]):
                excess += gamma * lam * c * (vs[t + 1, b] - values[t + 1, b])
                after = vs[t + 1, b]
            vs[t, b] = values[t, b] + excess
            advantages[t, b] = rho_pg * (rewards[t, b] + gamma * after - values[t, b])


@cache
def _compiled() -> Callable[..., None]:
    import numba

    compiled: Callable[..., None] = numba.njit(nogil=True)(_vtrace)
    return compiled


def vtrace_numba(
    log_rhos: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *levels: float,
) -> tuple[Tensor, Tensor]:
    """Return ``(vs, pg_advantages)`` of CPU tensors; see :func:`rlcore.ops.returns.vtrace`."""
    arrays = [a.detach().numpy() for a in (log_rhos.exp(), rewards, values, next_values)]
    flags = [a.detach().numpy() for a in (terminated, truncated)]
    vs, advantages = (np.empty(arrays[2].shape, arrays[2].dtype) for _ in range(2))
    _compiled()(*arrays, *flags, levels, vs, advantages)
    return torch.from_numpy(vs), torch.from_numpy(advantages)
