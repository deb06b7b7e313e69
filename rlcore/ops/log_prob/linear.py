"""Log-probability, entropy and cross-entropy of tokens under ``softmax(hidden weight^T)``.

A batch of 32 thousand tokens over 150 thousand words has logits of 20 GB in float32. Here they are
computed a chunk of tokens at a time, reduced to a few numbers a token, and computed again when the
gradient is needed.

=============  ===============================================================================
backend        how
=============  ===============================================================================
``reference``  all logits at once and ``log_softmax``: the definition
``torch``      chunks of tokens
``triton``     the same chunks; one kernel reads each row of logits once and one writes its
               gradient
=============  ===============================================================================

Legend: ``N`` tokens, ``D`` width, ``V`` vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend
from rlcore.ops.log_prob.chunked import Head, chunked_cross_entropy, chunked_log_probs
from rlcore.ops.log_prob.reference import reference_log_probs

_FLOATS = (*HALF_AND_SINGLE, torch.float64)


class TokenLogProbs(NamedTuple):
    """What a head says of given tokens, in float32 (float64 for float64 features).

    Attributes:
        log_probs: ``[...]``, log-probability of each token; 0 where it is ignored.
        log_z: ``[...]``, log of the sum of exponentials of its logits; 0 where ignored.
        entropy: ``[...]``, of the whole distribution, in nats; ``None`` if not asked for.
    """

    log_probs: Tensor
    log_z: Tensor
    entropy: Tensor | None


def linear_log_probs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    ignore_index: int = -100,
    skip_ignored: bool | None = None,
    chunk: int | None = None,
    backend: Backend = "auto",
) -> TokenLogProbs:
    """Return the log-probabilities of tokens under a linear head, differentiable once.

    The logits are ``softcap * tanh((hidden weight^T + bias) / softcap) / temperature``. The
    matrix products are in the dtype of ``hidden``, also under autocast; sums are in float32 or
    float64. Gradients of ``weight`` are summed over the chunks in float32 or float64.

    Args:
        hidden: ``[..., D]`` features.
        weight: ``[V, D]`` of the same dtype.
        tokens: ``[...]`` int64.
        bias: ``[V]`` or ``None``.
        temperature: Divides the logits.
        softcap: Bound of the logits' absolute value before the temperature; ``None`` for none.
        entropy: Whether to compute the entropy too.
        ignore_index: Tokens of this value count for exactly nothing, whatever ``hidden`` holds.
        skip_ignored: Whether ignored tokens are left out of the matrix products; on CUDA this
            waits for their number. ``None``: on a CPU.
        chunk: Tokens computed at a time; ``None`` for a fixed number of logits.
        backend: See above and :mod:`rlcore.ops.backends`.

    Raises:
        ConfigError: Shapes or dtypes do not fit, a setting is out of range, or the backend cannot
            run here.
    """
    head = _head(hidden, weight, tokens, bias, temperature, softcap, chunk, backend)
    rows = _Rows(hidden, tokens, ignore_index, skip_ignored)
    if head.backend == "reference":
        found = reference_log_probs(rows.hidden, weight, rows.tokens, bias, head, entropy)
    else:
        found = chunked_log_probs(rows.hidden, weight, rows.tokens, bias, head, entropy)
    log_probs, log_z, ent = (None if x is None else rows.restore(x) for x in found)
    assert log_probs is not None
    assert log_z is not None
    return TokenLogProbs(log_probs, log_z, ent)


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    label_weights: Tensor | None = None,
    z_loss: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    temperature: float = 1.0,
    softcap: float | None = None,
    ignore_index: int = -100,
    skip_ignored: bool | None = None,
    chunk: int | None = None,
    half_logits: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Return the cross-entropy of tokens under a linear head as a scalar.

    ``sum_i w_i (-log p_i + z_loss * log_z_i ** 2)``, divided by ``sum_i w_i`` for ``mean``. Being
    a scalar whose factors are known, its gradient is made in the forward pass: every logit is
    computed once, where :func:`linear_log_probs` computes it twice.

    Args:
        hidden: ``[..., D]`` features.
        weight: ``[V, D]`` of the same dtype.
        tokens: ``[...]`` int64.
        bias: ``[V]`` or ``None``.
        label_weights: ``[...]``, weight ``w`` of each token, no gradient; ``None`` for 1 each.
        z_loss: Factor of the squared log of the normaliser (Chowdhery et al. 2022, PaLM).
        reduction: ``mean`` over the weights of tokens that are not ignored, or ``sum``. A mean of
            no token is 0.
        temperature: As in :func:`linear_log_probs`, and so are those below.
        softcap: .
        ignore_index: .
        skip_ignored: .
        chunk: .
        half_logits: Whether logits of half-precision features are rounded to their dtype, as a
            linear layer rounds them under autocast: half the memory and traffic on a GPU.
        backend: .

    Raises:
        ConfigError: As in :func:`linear_log_probs`.
    """
    if reduction not in ("mean", "sum"):
        raise ConfigError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    if not (z_loss >= 0.0 and math.isfinite(z_loss)):
        raise ConfigError(f"z_loss must be >= 0, got {z_loss}")
    if label_weights is not None and label_weights.shape != tokens.shape:
        raise ConfigError(
            f"label_weights want the shape of the tokens {tuple(tokens.shape)}, got "
            f"{tuple(label_weights.shape)}"
        )
    head = _head(hidden, weight, tokens, bias, temperature, softcap, chunk, backend)
    head = replace(head, half_logits=half_logits)
    rows = _Rows(hidden, tokens, ignore_index, skip_ignored)
    scale = rows.weights(label_weights, _wide(hidden.dtype))
    if reduction == "mean":
        total = scale.sum()
        scale = scale / torch.where(total == 0, torch.ones_like(total), total)
    if head.backend == "reference":
        log_probs, log_z, _ = reference_log_probs(
            rows.hidden, weight, rows.tokens, bias, head, entropy=False
        )
        return (scale * (z_loss * log_z.square() - log_probs)).sum()
    return chunked_cross_entropy(rows.hidden, weight, rows.tokens, bias, scale, z_loss, head)


class _Rows:
    """Tokens and features as flat rows, ignored ones left out or set to zero."""

    def __init__(
        self, hidden: Tensor, tokens: Tensor, ignore_index: int, skip: bool | None
    ) -> None:
        self.shape = tokens.shape
        flat, ids = hidden.reshape(-1, hidden.shape[-1]), tokens.reshape(-1)
        self.keep = ids != ignore_index
        skip = hidden.device.type == "cpu" if skip is None else skip
        self.index = self.keep.nonzero().squeeze(1) if skip else None
        if self.index is None:
            self.hidden = flat.masked_fill(~self.keep[:, None], 0.0)
            self.tokens = ids.masked_fill(~self.keep, 0)
        elif len(self.index) == len(ids):
            self.index, self.hidden, self.tokens = None, flat, ids
        else:
            self.hidden, self.tokens = flat[self.index], ids[self.index]

    def restore(self, values: Tensor) -> Tensor:
        """Return values of the rows in the tokens' shape, 0 for ignored tokens."""
        if self.index is None:
            values = values.masked_fill(~self.keep, 0.0)
        else:
            values = values.new_zeros(len(self.keep)).index_put((self.index,), values)
        return values.view(self.shape)

    def weights(self, label_weights: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return the weight of each row, 0 for ignored tokens."""
        if label_weights is None:
            kept = self.keep.to(dtype)
        else:
            kept = label_weights.detach().reshape(-1).to(dtype).masked_fill(~self.keep, 0.0)
        return kept if self.index is None else kept[self.index]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _head(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    bias: Tensor | None,
    temperature: float,
    softcap: float | None,
    chunk: int | None,
    backend: Backend,
) -> Head:
    """Check the arguments and return how the logits are made."""
    if weight.dim() != 2 or hidden.dim() < 1 or hidden.shape[-1] != weight.shape[1]:
        raise ConfigError(
            f"a head wants hidden [..., D] and weight [V, D], got {tuple(hidden.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if tokens.shape != hidden.shape[:-1] or tokens.dtype != torch.int64:
        raise ConfigError(
            f"tokens want int64 {tuple(hidden.shape[:-1])}, got {tokens.dtype} "
            f"{tuple(tokens.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ConfigError(f"bias wants ({len(weight)},), got {tuple(bias.shape)}")
    if hidden.dtype not in _FLOATS or any(
        x is not None and x.dtype != hidden.dtype for x in (weight, bias)
    ):
        found = [hidden.dtype, weight.dtype, *([] if bias is None else [bias.dtype])]
        raise ConfigError(f"hidden, weight and bias want one floating dtype, got {found}")
    for name, value in (("temperature", temperature), ("softcap", softcap), ("chunk", chunk)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} must be > 0, got {value}")
    chosen = resolve_backend(backend, hidden, triton_dtypes=HALF_AND_SINGLE)
    if chosen == "numba":
        raise ConfigError("log-probabilities have no numba backend; wanted torch or triton")
    return Head(chosen, float(temperature), softcap, chunk)
