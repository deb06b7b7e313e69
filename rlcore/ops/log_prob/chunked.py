"""Log-probabilities of a linear head, a chunk of tokens at a time, with their gradient.

With ``z`` the logits of a row, ``p = softmax(z)``, ``H`` its entropy, ``y`` its token and upstream
gradients ``a`` of the log-probability, ``b`` of the log-normaliser and ``c`` of the entropy::

    dL/dz_j = a [j = y] + p_j (b - a - c (log p_j + H))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_ENTRIES = {"cpu": 1 << 22, "cuda": 1 << 27}
"""Logits computed at a time: on a CPU so that they stay in its caches."""


@dataclass(frozen=True, slots=True)
class Head:
    """How logits are made from a matrix product, and who computes them.

    Attributes:
        backend: ``torch`` or ``triton``.
        temperature: Divides the logits.
        softcap: Bound of their absolute value before that, or ``None``.
        chunk: Tokens at a time, or ``None`` for :data:`CHUNK_ENTRIES`.
        half_logits: Whether products of halves are rounded to halves.
    """

    backend: str
    temperature: float
    softcap: float | None
    chunk: int | None
    half_logits: bool = False

    def chunks(self, hidden: Tensor, vocabulary: int) -> Iterator[slice]:
        """Yield the slices of rows that are computed at a time."""
        entries = CHUNK_ENTRIES.get(hidden.device.type, CHUNK_ENTRIES["cuda"])
        size = self.chunk or max(1, entries // max(1, vocabulary))
        for start in range(0, len(hidden), size):
            yield slice(start, start + size)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Gradients that arrive at a chunk's rows, ``[n]`` each.

    Attributes:
        log_probs: Of the log-probability.
        log_z: Of the log-normaliser, or ``None``.
        entropy: Of the entropy, or ``None``.
    """

    log_probs: Tensor
    log_z: Tensor | None = None
    entropy: Tensor | None = None


def chunked_log_probs(
    hidden: Tensor, weight: Tensor, tokens: Tensor, bias: Tensor | None, head: Head, entropy: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``(log_probs, log_z, entropy)``, each ``[N]``.

    Args:
        hidden: ``[N, D]``.
        weight: ``[V, D]``.
        tokens: ``[N]`` int64.
        bias: ``[V]`` or ``None``.
        head: How logits are made.
        entropy: Whether to compute the entropy.
    """
    found = _LogProbs.apply(hidden, weight, bias, tokens, head, entropy)  # type: ignore[no-untyped-call]
    log_probs, log_z, uncertainty = found
    return log_probs, log_z, uncertainty if entropy else None


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    bias: Tensor | None,
    scale: Tensor,
    z_loss: float,
    head: Head,
) -> Tensor:
    """Return ``sum_i scale_i (-log p_i + z_loss log_z_i^2)``; other arguments as above."""
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, tokens, scale, z_loss, head, torch.is_grad_enabled()
    )
    return loss


class _LogProbs(torch.autograd.Function):
    """Keeps ``log_z`` and the entropy of each row, and computes the logits again for gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        head: Head,
        entropy: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = _wide(hidden)
        log_probs, log_z, uncertainty = (
            hidden.new_empty(len(hidden), dtype=wide) for _ in range(3)
        )
        with _exact(hidden):
            for part in head.chunks(hidden, len(weight)):
                raw = _products(hidden[part], weight, bias)
                log_probs[part], log_z[part], uncertainty[part] = _statistics(
                    raw, tokens[part], head, entropy
                )
        ctx.save_for_backward(hidden, weight, bias, tokens, log_z, uncertainty)
        ctx.head, ctx.entropy = head, entropy
        if not entropy:
            ctx.mark_non_differentiable(uncertainty)
        return log_probs, log_z, uncertainty

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_log_probs: Tensor, grad_log_z: Tensor, grad_entropy: Tensor
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, log_z, uncertainty = ctx.saved_tensors
        sums = _GradientSums(hidden, weight, bias, ctx.needs_input_grad[:3])
        with _exact(hidden):
            for part in ctx.head.chunks(hidden, len(weight)):
                upstream = Upstream(
                    grad_log_probs[part],
                    grad_log_z[part],
                    grad_entropy[part] if ctx.entropy else None,
                )
                raw = _products(hidden[part], weight, bias)
                gradient = _logit_gradient(
                    raw, tokens[part], log_z[part], uncertainty[part], upstream, ctx.head,
                    hidden.dtype,
                )  # fmt: skip
                sums.add(part, gradient)
        return (*sums.results(), None, None, None)


class _CrossEntropy(torch.autograd.Function):
    """Makes the gradient while the logits are there, since its factors are known already."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        scale: Tensor,
        z_loss: float,
        head: Head,
        differentiate: bool,
    ) -> Tensor:
        wanted = tuple(n and differentiate for n in ctx.needs_input_grad[:3])
        sums = _GradientSums(hidden, weight, bias, wanted)
        loss = scale.new_zeros(())
        with _exact(hidden):
            for part in head.chunks(hidden, len(weight)):
                raw = _products(hidden[part], weight, bias, head.half_logits)
                factors = (scale[part], z_loss)
                log_probs, log_z, gradient = _rows_of_loss(
                    raw, tokens[part], factors, head, hidden.dtype, any(wanted)
                )
                loss += (scale[part] * (z_loss * log_z.square() - log_probs)).sum()
                if gradient is not None:
                    sums.add(part, gradient)
        ctx.save_for_backward(*sums.results())
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if x is None else x * grad.to(x.dtype) for x in ctx.saved_tensors)
        return (*found, None, None, None, None, None)


class _GradientSums:
    """Gradients of features, weight and bias, summed over the chunks in a wide dtype."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]
    ) -> None:
        wide = _wide(hidden)
        self._hidden, self._head = hidden, weight
        self.hidden = torch.empty_like(hidden) if wanted[0] else None
        self.weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
        self.bias = torch.zeros_like(bias, dtype=wide) if bias is not None and wanted[2] else None

    def add(self, part: slice, gradient: Tensor) -> None:
        """Add the rows ``part``, whose logits' gradient is ``[n, V]``."""
        if self.hidden is not None:
            torch.mm(gradient, self._head, out=self.hidden[part])
        if self.weight is not None:
            if self.weight.dtype == gradient.dtype:
                self.weight.addmm_(gradient.T, self._hidden[part])
            else:
                self.weight += _widened(gradient.T, self._hidden[part])
        if self.bias is not None:
            self.bias += gradient.sum(0, dtype=self.bias.dtype)

    def results(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients in the dtype of their tensors."""
        dtype = self._head.dtype
        weight = None if self.weight is None else self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        return self.hidden, weight, bias


def _rows_of_loss(
    raw: Tensor,
    tokens: Tensor,
    factors: tuple[Tensor, float],
    head: Head,
    dtype: torch.dtype,
    differentiate: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return ``(log_probs, log_z)`` of matrix products ``[n, V]`` and the loss's gradient.

    Args:
        raw: The products; they may be overwritten.
        tokens: ``[n]``.
        factors: Weight of each row ``[n]``, and of the squared log-normaliser.
        head: How logits are made.
        dtype: Of the gradient.
        differentiate: Whether to make it.
    """
    scale, z_loss = factors
    if head.backend == "triton" and differentiate:
        from rlcore.ops.log_prob.rows_triton import cross_entropy_triton

        return cross_entropy_triton(
            raw, tokens, scale, z_loss, head.temperature, head.softcap, dtype
        )
    log_probs, log_z, entropy = _statistics(raw, tokens, head, entropy=False)
    if not differentiate:
        return log_probs, log_z, None
    upstream = Upstream(-scale, 2.0 * z_loss * scale * log_z)
    gradient = _logit_gradient(raw, tokens, log_z, entropy, upstream, head, dtype)
    return log_probs, log_z, gradient


def _statistics(
    raw: Tensor, tokens: Tensor, head: Head, entropy: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(log_probs, log_z, entropy)`` of rows of matrix products ``[n, V]``."""
    if head.backend == "triton":
        from rlcore.ops.log_prob.rows_triton import statistics_triton

        return statistics_triton(raw, tokens, head.temperature, head.softcap, entropy)
    logits, _ = _logits(raw, head, overwrite=False)
    log_z = logits.logsumexp(-1)
    log_probs = logits.gather(1, tokens[:, None]).squeeze(1) - log_z
    if not entropy:
        return log_probs, log_z, torch.zeros_like(log_z)
    p = (logits - log_z[:, None]).exp_()
    return log_probs, log_z, log_z - (p * logits).sum(-1)


def _logit_gradient(
    raw: Tensor,
    tokens: Tensor,
    log_z: Tensor,
    entropy: Tensor,
    upstream: Upstream,
    head: Head,
    dtype: torch.dtype,
) -> Tensor:
    """Return the gradient of the matrix products ``[n, V]`` in ``dtype``; may overwrite them."""
    if head.backend == "triton":
        from rlcore.ops.log_prob.rows_triton import logit_gradient_triton

        return logit_gradient_triton(
            raw, tokens, log_z, entropy, upstream, head.temperature, head.softcap, dtype
        )
    logits, slope = _logits(raw, head, overwrite=True)
    log_p = logits.sub_(log_z[:, None])
    factor = -upstream.log_probs if upstream.log_z is None else upstream.log_z - upstream.log_probs
    if upstream.entropy is None:
        gradient = log_p.exp_().mul_(factor[:, None])
    else:
        c = upstream.entropy[:, None]
        gradient = log_p.exp() * (factor[:, None] - c * (log_p + entropy[:, None]))
    gradient.scatter_add_(1, tokens[:, None], upstream.log_probs[:, None].to(gradient.dtype))
    if slope is not None:
        gradient *= slope
    if head.temperature != 1.0:
        gradient /= head.temperature
    return gradient.to(dtype)


def _logits(raw: Tensor, head: Head, *, overwrite: bool) -> tuple[Tensor, Tensor | None]:
    """Return the logits and, where there is a soft cap, its slope."""
    bent = head.softcap is not None or head.temperature != 1.0
    logits = raw.to(_wide(raw), copy=bent and not overwrite)
    slope = None
    if head.softcap is not None:
        logits.div_(head.softcap).tanh_()
        slope = 1.0 - logits.square()
        logits.mul_(head.softcap)
    if head.temperature != 1.0:
        logits.div_(head.temperature)
    return logits, slope


def _products(hidden: Tensor, weight: Tensor, bias: Tensor | None, half: bool = False) -> Tensor:
    """Return ``hidden weight^T + bias``, in float32 where the device multiplies halves into it.

    With ``half`` they are rounded to the dtype of what is multiplied.
    """
    raw = hidden @ weight.T if half else _widened(hidden, weight.T)
    return raw if bias is None else raw.add_(bias)


def _widened(a: Tensor, b: Tensor) -> Tensor:
    if a.device.type == "cuda" and a.dtype in (torch.float16, torch.bfloat16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return a @ b


def _wide(like: Tensor) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else torch.float32


def _exact(like: Tensor) -> torch.autocast:
    """Return a context without autocast: products are in the dtype of what is given."""
    return torch.autocast(like.device.type, enabled=False)
