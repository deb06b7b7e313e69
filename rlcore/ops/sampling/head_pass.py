"""What a decoder needs to know of a row of logits, in one pass and without a stored softmax."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here
TILE = 4096
"""Tokens of one step of a program."""


class HeadStatistics(NamedTuple):
    """Statistics of logits ``[..., V]``; floats are float32, or float64 for logits of float64.

    Attributes:
        top_id: int64 ``[...]``, the most likely token, the first of equals.
        top: ``[...]``, its logit.
        second: ``[...]``, the next largest logit; minus infinity where V is 1.
        logsumexp: ``[...]``, log of the normaliser.
        entropy: ``[...]``, in nats.
    """

    top_id: Tensor
    top: Tensor
    second: Tensor
    logsumexp: Tensor
    entropy: Tensor


def head_statistics(logits: Tensor, *, backend: Backend = "auto") -> HeadStatistics:
    """Return the statistics of each row of logits ``[..., V]``; minus infinity is legal.

    Raises:
        ConfigError: The logits are no floats or have no token, or the backend cannot run here.
    """
    if not logits.dtype.is_floating_point or logits.dim() == 0 or logits.shape[-1] == 0:
        raise ConfigError(
            "head_statistics wants floating-point logits [..., V] with V >= 1, got "
            f"{logits.dtype} of shape {tuple(logits.shape)}"
        )
    chosen = resolve_backend(backend, logits, triton_dtypes=HALF_AND_SINGLE)
    flat = logits.detach().flatten(0, -2) if logits.dim() > 1 else logits.detach()[None]
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    if chosen == "triton":
        found = _statistics_triton(flat)
    elif chosen == "reference":
        found = _statistics_reference(flat.to(wide))
    elif chosen == "torch":
        found = _statistics_torch(flat.to(wide))
    else:
        raise ConfigError("head_statistics has no numba backend; wanted reference, torch or triton")
    return HeadStatistics(*(x.view(logits.shape[:-1]) for x in found))


def _statistics_reference(logits: Tensor) -> tuple[Tensor, ...]:
    """One row at a time, from its sorted probabilities."""
    found = []
    for row in logits.tolist():
        ordered = sorted(row, reverse=True)
        total = math.fsum(math.exp(x - ordered[0]) for x in row)
        normaliser = ordered[0] + math.log(total)
        entropy = math.fsum(
            math.exp(x - normaliser) * (normaliser - x) for x in row if x > -math.inf
        )
        second = ordered[1] if len(row) > 1 else -math.inf
        found.append((row.index(ordered[0]), ordered[0], second, normaliser, entropy))
    columns = list(zip(*found, strict=True)) or [()] * 5
    ids = torch.tensor(columns[0], dtype=torch.int64, device=logits.device)
    return ids, *(torch.tensor(c, dtype=logits.dtype, device=logits.device) for c in columns[1:])


def _statistics_torch(logits: Tensor) -> tuple[Tensor, ...]:
    top, top_id = logits.max(-1)
    others = logits.scatter(-1, top_id[:, None], -torch.inf)
    shifted = logits - top[:, None]
    weights = shifted.exp()
    total = weights.sum(-1)
    # A weight of 0 may belong to minus infinity: 0 log 0 is 0.
    mean = torch.where(weights > 0, weights * shifted, 0.0).sum(-1) / total
    log_total = total.log()
    return top_id, top, others.amax(-1), top + log_total, log_total - mean


def _statistics_kernel(  # type: ignore[no-untyped-def]
    logits_ptr, ids_ptr, out_ptr, rows, vocab, TILE: tl.constexpr
):
    """One program a row; sums are relative to the running maximum."""
    row = tl.program_id(0)
    low = float("-inf")
    top, second, top_id = low, low, 0
    total, moment = 0.0, 0.0  # sums of w and of w (x - top), w = exp(x - top)
    for start in range(0, vocab, TILE):
        token = start + tl.arange(0, TILE)
        inside = token < vocab
        x = tl.load(logits_ptr + row.to(tl.int64) * vocab + token, mask=inside, other=low)
        x = x.to(tl.float32)
        here = tl.max(x, 0)
        at = tl.min(tl.where((x == here) & inside, token, vocab), 0)
        next_here = tl.max(tl.where(token == at, low, x), 0)
        better = here > top
        second = tl.maximum(tl.where(better, top, here), tl.where(better, next_here, second))
        top_id = tl.where(better, at, top_id)
        higher = tl.maximum(top, here)
        safe = tl.where(higher == low, 0.0, higher)
        weight = tl.exp(x - safe)
        old = tl.where(top == low, 0.0, top - safe)
        scale = tl.exp(top - safe)
        moment = scale * (moment + total * old)
        moment += tl.sum(tl.where(weight > 0, weight * (x - safe), 0.0), 0)
        total = scale * total + tl.sum(weight, 0)
        top = higher
    tl.store(ids_ptr + row, top_id)
    tl.store(out_ptr + row, top)
    tl.store(out_ptr + rows + row, second)
    tl.store(out_ptr + 2 * rows + row, top + tl.log(total))
    tl.store(out_ptr + 3 * rows + row, tl.log(total) - moment / total)


@cache
def _kernel() -> Any:
    return jitted(_statistics_kernel)


def _statistics_triton(logits: Tensor) -> tuple[Tensor, ...]:
    logits = logits.contiguous()
    rows, vocab = logits.shape
    ids = torch.empty(rows, dtype=torch.int64, device=logits.device)
    out = torch.empty(4, rows, device=logits.device)
    if rows:
        tile = min(TILE, max(16, 1 << (vocab - 1).bit_length()))
        _kernel()[(rows,)](logits, ids, out, rows, vocab, TILE=tile, num_warps=8)
    return ids, *out.unbind()
