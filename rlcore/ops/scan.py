"""The backward linear recurrence that every return estimator reduces to.

``x_t = a_t x_{t+1} + b_t`` for ``t = T-1 ... 0``, with ``x_T = 0``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.errors import LearnerError
from rlcore.ops.backends import Backend, resolve_backend


def linear_recurrence(decay: Tensor, inputs: Tensor, backend: Backend = "auto") -> Tensor:
    """Return ``x`` of the recurrence ``x_t = decay_t x_{t+1} + inputs_t``.

    The result carries no gradient.

    Args:
        decay: ``[T, B]`` coefficients; row ``T - 1`` has no effect.
        inputs: ``[T, B]``, of the same floating dtype.
        backend: See :mod:`rlcore.ops.backends`.

    Raises:
        LearnerError: Shapes or dtypes differ, or the tensors are not ``[T, B]``.
    """
    if decay.shape != inputs.shape or decay.dim() != 2 or decay.dtype != inputs.dtype:
        raise LearnerError(
            f"decay and inputs must be [T, B] of one dtype, got {tuple(decay.shape)} "
            f"{decay.dtype} and {tuple(inputs.shape)} {inputs.dtype}"
        )
    chosen = resolve_backend(backend, inputs)
    with torch.no_grad():
        if chosen == "reference":
            return _recurrence_reference(decay, inputs)
        if chosen == "numba":
            from rlcore.ops.scan_numba import recurrence_numba

            return recurrence_numba(decay, inputs)
        if chosen == "triton":
            from rlcore.ops.scan_triton import recurrence_triton

            return recurrence_triton(decay, inputs)
        return recurrence_(decay, inputs.clone(memory_format=torch.contiguous_format))


def _recurrence_reference(decay: Tensor, inputs: Tensor) -> Tensor:
    after = torch.zeros_like(inputs[0]) if len(inputs) else inputs
    rows: list[Tensor] = []
    for a, b in zip(reversed(decay.unbind(0)), reversed(inputs.unbind(0)), strict=True):
        after = a * after + b
        rows.append(after)
    return torch.stack(rows[::-1]) if rows else inputs.clone()


def recurrence_(decay: Tensor, inputs: Tensor) -> Tensor:
    """Overwrite ``inputs`` with the recurrence and return it: one fused row operation a step."""
    decays, rows = decay.unbind(0), inputs.unbind(0)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(decays[t], rows[t + 1])
    return inputs
