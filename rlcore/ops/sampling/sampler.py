"""Draw one token a row of logits, with settings and random numbers of each row's own.

The law of a row is made in this order: repetition penalty, temperature, top-k, top-p. A token is
drawn from it by the Gumbel-max trick with counter-based noise, so that a row's token depends on its
logits, settings, key and position alone, never on the rest of the batch.

Legend: ``R`` rows, ``V`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.backends import HALF_AND_SINGLE, Backend, resolve_backend
from rlcore.ops.sampling.sampler_reference import sample_reference
from rlcore.ops.sampling.sampler_torch import sample_torch


@dataclass(frozen=True, eq=False)
class SamplingRows:
    """Settings of each row, on the logits' device; the values are not checked there.

    Attributes:
        keys: int64 ``[R]``, see :func:`rlcore.ops.sampling.counter_rng.branch_key`.
        positions: int64 ``[R]``, position of the token that is drawn.
        temperature: float32 ``[R]``, at least 0; 0 takes the largest logit.
        top_k: int32 ``[R]``: the k largest logits stay, and what equals the smallest of them; 0
            keeps all. ``None``: 0 everywhere.
        top_p: float32 ``[R]`` in (0, 1]: a token stays if those of larger logits have less than
            ``top_p`` of what top-k left. ``None``: 1 everywhere.
        penalty: float32 ``[R]``, positive: logits of seen tokens are divided by it where they are
            positive and multiplied elsewhere (Keskar et al. 2019). ``None``: 1 everywhere.
        seen: int32 ``[R, ceil(V / 32)]``, bit ``v % 32`` of word ``v // 32`` for a seen token
            ``v``; wanted where ``penalty`` is given. See :func:`mark_seen`.
    """

    keys: Tensor
    positions: Tensor
    temperature: Tensor
    top_k: Tensor | None = None
    top_p: Tensor | None = None
    penalty: Tensor | None = None
    seen: Tensor | None = None


class Sampled(NamedTuple):
    """What was drawn.

    Attributes:
        tokens: int64 ``[R]``.
        log_probs: ``[R]``, log-probability under the law it was drawn from; 0 at temperature 0.
        raw_log_probs: ``[R]``, log-probability under the softmax of the logits as given.
    """

    tokens: Tensor
    log_probs: Tensor
    raw_log_probs: Tensor


def sample(logits: Tensor, rows: SamplingRows, *, backend: Backend = "auto") -> Sampled:
    """Draw a token for each row.

    Args:
        logits: ``[R, V]``; minus infinity is legal, in a row that has something else.
        rows: Settings and random keys.
        backend: See :mod:`rlcore.ops.backends`.

    Returns:
        Tokens and log-probabilities: float32, or float64 for logits of float64.

    Raises:
        ConfigError: Shapes, dtypes or devices do not fit, or the backend cannot run here.
    """
    _check(logits, rows)
    chosen = resolve_backend(backend, logits, triton_dtypes=HALF_AND_SINGLE)
    with torch.no_grad():
        if logits.shape[0] == 0:
            none = logits.new_zeros(0, dtype=_wide(logits))
            return Sampled(none.long(), none, none.clone())
        if chosen == "reference":
            return Sampled(*sample_reference(logits.to(_wide(logits)), rows))
        if chosen == "numba":
            from rlcore.ops.sampling.sampler_numba import sample_numba

            return Sampled(*sample_numba(logits, rows))
        if chosen == "triton":
            from rlcore.ops.sampling.sampler_triton import sample_triton

            return Sampled(*sample_triton(logits, rows))
        return Sampled(*sample_torch(logits.to(_wide(logits)), rows))


def mark_seen(seen: Tensor, rows: Tensor, tokens: Tensor) -> None:
    """Set the bits of tokens in place.

    Args:
        seen: int32 ``[R, ceil(V / 32)]``.
        rows: int64 ``[n]``; a row may be named once only.
        tokens: int64 ``[n]``.
    """
    word = tokens // 32
    bit = torch.ones_like(tokens, dtype=torch.int32) << (tokens % 32).int()
    seen[rows, word] = seen[rows, word] | bit


def _wide(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _check(logits: Tensor, rows: SamplingRows) -> None:
    """Raise ``ConfigError`` unless the shapes, dtypes and devices belong together."""
    if logits.dim() != 2 or logits.shape[1] == 0 or not logits.dtype.is_floating_point:
        raise ConfigError(
            "sample wants floating-point logits [R, V] with V >= 1, got "
            f"{logits.dtype} of shape {tuple(logits.shape)}"
        )
    count, vocab = logits.shape
    if (rows.penalty is None) != (rows.seen is None):
        raise ConfigError("penalty and seen of SamplingRows go together: one is None, one is not")
    wanted = {
        "keys": (torch.int64, (count,)),
        "positions": (torch.int64, (count,)),
        "temperature": (torch.float32, (count,)),
        "top_k": (torch.int32, (count,)),
        "top_p": (torch.float32, (count,)),
        "penalty": (torch.float32, (count,)),
        "seen": (torch.int32, (count, (vocab + 31) // 32)),
    }
    for name, (dtype, shape) in wanted.items():
        value = getattr(rows, name)
        if value is None and name not in ("keys", "positions", "temperature"):
            continue
        found = (value.dtype, tuple(value.shape), value.device)
        if found != (dtype, shape, logits.device):
            raise ConfigError(
                f"{name} of SamplingRows must be {dtype} of shape {shape} on {logits.device}, got "
                f"{found[0]} of shape {found[1]} on {found[2]}"
            )
