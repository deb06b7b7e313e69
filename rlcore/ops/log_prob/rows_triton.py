"""Rows of logits on CUDA: their statistics in one read, their gradient in one read and one write.

A softmax over a vocabulary does three operations a byte: both kernels are bound by memory, so
nothing between the load and the store leaves the registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlcore.ops.triton_jit import jitted

if TYPE_CHECKING:
    from rlcore.ops.log_prob.chunked import Upstream

tl: Any = None  # triton.language, bound when the kernels are first built
BLOCK = 4096
"""Logits of a row that one program holds at a time."""
LARGE_BLOCK = 16_384
"""The same where a row is read twice: the fewer rows are under way, the more stay in the L2."""


def _capped_tanh(x):  # type: ignore[no-untyped-def]
    """Return ``tanh(x)``; Triton has none that also runs in its interpreter."""
    small = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - small) / (1.0 + small)
    return tl.where(x < 0.0, -size, size)


def _capped(  # type: ignore[no-untyped-def]
    raw, inverse_temperature, softcap, CAPPED: tl.constexpr
):
    """Return logits and their slope by the products ``raw``, before the temperature."""
    slope = 1.0
    if CAPPED:
        bent = _capped_tanh(raw / softcap)  # type: ignore[no-untyped-call]
        slope = 1.0 - bent * bent
        raw = softcap * bent
    return raw * inverse_temperature, slope


def _logit_of(  # type: ignore[no-untyped-def]
    raw_ptr, token, vocabulary, inverse_temperature, softcap, CAPPED: tl.constexpr
):
    """Return the logit of a token: NaN outside the vocabulary, so that it does not pass unseen."""
    known = (token >= 0) & (token < vocabulary)
    raw = tl.load(raw_ptr + tl.where(known, token, 0)).to(tl.float32)
    logit, _ = _capped(raw, inverse_temperature, softcap, CAPPED)
    return tl.where(known, logit, float("nan"))


def _statistics_kernel(  # type: ignore[no-untyped-def]
    raw_ptr,
    tokens_ptr,
    log_probs_ptr,
    log_z_ptr,
    entropy_ptr,
    vocabulary,
    inverse_temperature,
    softcap,
    CAPPED: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program walks one row, with the running maximum of an online softmax."""
    row = tl.program_id(0).to(tl.int64)
    raw_ptr += row * vocabulary
    token = tl.load(tokens_ptr + row)
    picked = _logit_of(raw_ptr, token, vocabulary, inverse_temperature, softcap, CAPPED)
    top = -float("inf")
    total = 0.0
    weighted = 0.0  # sum of exp(z - top) z
    for start in range(0, vocabulary, BLOCK):
        word = start + tl.arange(0, BLOCK)
        inside = word < vocabulary
        z = tl.load(raw_ptr + word, mask=inside, other=0.0).to(tl.float32)
        z, _ = _capped(z, inverse_temperature, softcap, CAPPED)
        z = tl.where(inside, z, -float("inf"))
        higher = tl.maximum(top, tl.max(z, 0))
        shift = tl.where(higher == -float("inf"), 0.0, higher)
        e = tl.exp(z - shift)
        shrink = tl.exp(top - shift)
        total = total * shrink + tl.sum(e, 0)
        if ENTROPY:
            weighted = weighted * shrink + tl.sum(tl.where(inside, e * z, 0.0), 0)
        top = higher
    log_z = tl.log(total) + tl.where(top == -float("inf"), 0.0, top)
    tl.store(log_probs_ptr + row, picked - log_z)
    tl.store(log_z_ptr + row, log_z)
    if ENTROPY:
        tl.store(entropy_ptr + row, log_z - weighted / total)


def _gradient_kernel(  # type: ignore[no-untyped-def]
    raw_ptr,
    out_ptr,
    tokens_ptr,
    log_z_ptr,
    entropy_ptr,
    grad_log_probs_ptr,
    grad_log_z_ptr,
    grad_entropy_ptr,
    vocabulary,
    inverse_temperature,
    softcap,
    CAPPED: tl.constexpr,
    LOG_Z: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program writes the gradient of one block of one row."""
    blocks = (vocabulary + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    word = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = word < vocabulary
    place = row * vocabulary + word
    z = tl.load(raw_ptr + place, mask=inside, other=0.0).to(tl.float32)
    z, slope = _capped(z, inverse_temperature, softcap, CAPPED)
    log_p = z - tl.load(log_z_ptr + row)
    a = tl.load(grad_log_probs_ptr + row)
    factor = -a
    if LOG_Z:
        factor += tl.load(grad_log_z_ptr + row)
    gradient = tl.exp(log_p) * factor
    if ENTROPY:
        c = tl.load(grad_entropy_ptr + row)
        gradient -= tl.exp(log_p) * c * (log_p + tl.load(entropy_ptr + row))
    gradient += tl.where(word == tl.load(tokens_ptr + row), a, 0.0)
    gradient = gradient * slope * inverse_temperature
    tl.store(out_ptr + place, gradient.to(out_ptr.dtype.element_ty), mask=inside)


def _cross_entropy_kernel(  # type: ignore[no-untyped-def]
    raw_ptr,
    out_ptr,
    tokens_ptr,
    scale_ptr,
    log_probs_ptr,
    log_z_ptr,
    vocabulary,
    inverse_temperature,
    softcap,
    z_loss,
    CAPPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program walks one row twice: for its statistics, then for its gradient."""
    row = tl.program_id(0).to(tl.int64)
    token = tl.load(tokens_ptr + row)
    scale = tl.load(scale_ptr + row)
    raw_ptr += row * vocabulary
    out_ptr += row * vocabulary
    picked = _logit_of(raw_ptr, token, vocabulary, inverse_temperature, softcap, CAPPED)
    top = -float("inf")
    total = 0.0
    for start in range(0, vocabulary, BLOCK):
        word = start + tl.arange(0, BLOCK)
        inside = word < vocabulary
        z = tl.load(raw_ptr + word, mask=inside, other=0.0).to(tl.float32)
        z, _ = _capped(z, inverse_temperature, softcap, CAPPED)
        z = tl.where(inside, z, -float("inf"))
        higher = tl.maximum(top, tl.max(z, 0))
        shift = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(z - shift), 0)
        top = higher
    log_z = tl.log(total) + tl.where(top == -float("inf"), 0.0, top)
    tl.store(log_probs_ptr + row, picked - log_z)
    tl.store(log_z_ptr + row, log_z)
    factor = scale * (1.0 + 2.0 * z_loss * log_z)
    for start in range(0, vocabulary, BLOCK):
        word = start + tl.arange(0, BLOCK)
        inside = word < vocabulary
        z = tl.load(raw_ptr + word, mask=inside, other=0.0).to(tl.float32)
        z, slope = _capped(z, inverse_temperature, softcap, CAPPED)
        gradient = tl.exp(z - log_z) * factor - tl.where(word == token, scale, 0.0)
        gradient = gradient * slope * inverse_temperature
        tl.store(out_ptr + word, gradient.to(out_ptr.dtype.element_ty), mask=inside)


_PARTS = (_capped_tanh, _capped, _logit_of)


def cross_entropy_triton(
    raw: Tensor,
    tokens: Tensor,
    scale: Tensor,
    z_loss: float,
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(log_probs, log_z, gradient)`` of rows of matrix products ``[n, V]``.

    The gradient, in ``dtype``, is that of ``sum_i scale_i (z_loss log_z_i^2 - log_p_i)``; it is
    written over the products where they have that dtype already.
    """
    raw, tokens, scale = raw.contiguous(), tokens.contiguous(), scale.contiguous()
    rows, vocabulary = raw.shape
    out = raw if raw.dtype == dtype else torch.empty_like(raw, dtype=dtype)
    log_probs, log_z = torch.empty(2, rows, dtype=torch.float32, device=raw.device)
    large = vocabulary > LARGE_BLOCK
    if rows:
        jitted(_cross_entropy_kernel, *_PARTS)[(rows,)](
            raw, out, tokens, scale, log_probs, log_z, vocabulary, 1.0 / temperature,
            softcap or 1.0, z_loss, CAPPED=softcap is not None,
            BLOCK=LARGE_BLOCK if large else BLOCK, num_warps=32 if large else 8,
        )  # fmt: skip
    return log_probs, log_z, out


def statistics_triton(
    raw: Tensor, tokens: Tensor, temperature: float, softcap: float | None, entropy: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(log_probs, log_z, entropy)`` of rows of matrix products ``[n, V]``, in float32.

    A token outside the vocabulary has the log-probability NaN.
    """
    raw, tokens = raw.contiguous(), tokens.contiguous()
    rows, vocabulary = raw.shape
    log_probs, log_z, uncertainty = (
        torch.zeros(rows, dtype=torch.float32, device=raw.device) for _ in range(3)
    )
    if rows:
        jitted(_statistics_kernel, *_PARTS)[(rows,)](
            raw, tokens, log_probs, log_z, uncertainty, vocabulary, 1.0 / temperature,
            softcap or 1.0, CAPPED=softcap is not None, ENTROPY=entropy, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    return log_probs, log_z, uncertainty


def logit_gradient_triton(
    raw: Tensor,
    tokens: Tensor,
    log_z: Tensor,
    entropy: Tensor,
    upstream: Upstream,
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype,
) -> Tensor:
    """Return the gradient of the matrix products ``[n, V]`` in ``dtype``.

    It is written over them where they have that dtype already.
    """
    raw = raw.contiguous()
    rows, vocabulary = raw.shape
    out = raw if raw.dtype == dtype else torch.empty_like(raw, dtype=dtype)
    per_row = [tokens, log_z, entropy, upstream.log_probs]
    per_row += [x if x is not None else log_z for x in (upstream.log_z, upstream.entropy)]
    if rows:
        grid = (-(-vocabulary // BLOCK) * rows,)  # only the first axis goes beyond 65,535
        jitted(_gradient_kernel, *_PARTS)[grid](
            raw, out, *(x.contiguous() for x in per_row), vocabulary, 1.0 / temperature,
            softcap or 1.0, CAPPED=softcap is not None, LOG_Z=upstream.log_z is not None,
            ENTROPY=upstream.entropy is not None, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    return out
