"""From a fused projection to what attention takes: split, query and key norm, rotation, write.

Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in halves: element ``i`` is paired with
``i + D/2``.

Legend: ``N`` tokens, ``H`` query heads, ``K`` key heads, ``D`` head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.attention.paged import KVWrite
from rlcore.ops.backends import Backend
from rlcore.ops.early_start import launch_options, release_next, wait_for_inputs
from rlcore.ops.norm import fused_backend, rms_norm
from rlcore.ops.triton_jit import jitted

tl: Any = None  # triton.language, bound when the kernel is built: kernels look names up here


class HeadNorms(NamedTuple):
    """RMS norms of each query and key head (Henry et al. 2020).

    Attributes:
        query: ``[D]``.
        key: ``[D]``.
        eps: Added to the mean square.
        float32: See :func:`rlcore.ops.norm.rms_norm`.
    """

    query: Tensor
    key: Tensor
    eps: float
    float32: bool = False


def prepare_qkv(
    qkv: Tensor,
    heads: int,
    kv_heads: int,
    *,
    norms: HeadNorms | None = None,
    rotary: tuple[Tensor, Tensor] | None = None,
    cache: KVWrite | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normed, rotated queries and keys, and the values; write the latter two.

    Args:
        qkv: ``[..., (H + 2 K) * D]``: all queries, then all keys, then all values.
        heads: H.
        kv_heads: K.
        norms: Norms of query and key heads, or ``None``.
        rotary: ``(cos, sin)``, each ``[..., D/2]``, or ``None``.
        cache: Where keys and values go; then ``qkv`` is ``[N, ...]``.
        backend: See :mod:`rlcore.ops.backends`. Only ``reference`` and ``torch`` have gradients:
            ``auto`` takes ``torch`` where one is wanted.

    Returns:
        ``[..., H, D]``, ``[..., K, D]`` and ``[..., K, D]``.

    Raises:
        ConfigError: Shapes do not fit, or the backend cannot run here.
    """
    dim = _head_width(qkv, heads, kv_heads, norms, rotary, cache)
    if norms is None and rotary is None and cache is None:
        return qkv.unflatten(-1, (-1, dim)).split((heads, kv_heads, kv_heads), -2)  # type: ignore[no-untyped-call, no-any-return]
    weights = () if norms is None else (norms.query, norms.key)
    chosen = fused_backend(backend, qkv, *weights, numba=True)
    if chosen == "triton":
        return _prepare_triton(qkv, _Shape(heads, kv_heads, dim), norms, rotary, cache)
    if chosen == "numba":
        from rlcore.ops.rotary_numba import prepare_qkv_numba

        return prepare_qkv_numba(qkv, (heads, kv_heads), dim, norms, rotary, cache)
    q, k, v = qkv.unflatten(-1, (-1, dim)).split((heads, kv_heads, kv_heads), -2)  # type: ignore[no-untyped-call]
    norm_backend: Backend = "reference" if chosen == "reference" else "torch"
    if norms is not None:
        q, k = (
            rms_norm(x, w, norms.eps, float32=norms.float32, backend=norm_backend)
            for x, w in ((q, norms.query), (k, norms.key))
        )
    if rotary is not None:
        turn = _rotate_reference if chosen == "reference" else rotate
        q, k = turn(q, *rotary), turn(k, *rotary)
    if cache is not None:
        _write(cache, k, v)
    return q, k, v


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x`` with each pair ``(x_i, x_{i + D/2})`` turned by its angle.

    Args:
        x: ``[..., H, D]``.
        cos: ``[..., D/2]``, of ``x``'s dtype or wider.
        sin: ``[..., D/2]``, likewise.
    """
    first, second = x.chunk(2, -1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def rotary_angles(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of CUDA positions, float32 ``[N, D/2]``, in one kernel.

    Args:
        positions: int64 ``[N]``.
        frequencies: Angle of each pair a position, ``[D/2]``; used in float32.

    Raises:
        ConfigError: The positions are not packed, or the backend cannot run here.
    """
    if positions.dim() != 1 or frequencies.dim() != 1:
        raise ConfigError(
            "rotary_angles wants positions [N] and frequencies [D/2], got "
            f"{tuple(positions.shape)} and {tuple(frequencies.shape)}"
        )
    half = len(frequencies)
    out = torch.empty(2, len(positions), half, device=positions.device)
    fused_backend("triton", out)
    if len(positions) and half:
        _angles_kernel_of()[(len(positions),)](
            positions.contiguous(), frequencies.contiguous(), out[0], out[1], half,
            HALF=1 << (half - 1).bit_length(), num_warps=1, **launch_options(out.device),
        )  # fmt: skip
    return out[0], out[1]


def _rotate_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As a product of complex numbers."""
    first, second = x.chunk(2, -1)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    turned = torch.complex(first.to(wide), second.to(wide)) * torch.complex(
        cos.to(wide), sin.to(wide)
    ).unsqueeze(-2)
    return torch.cat((turned.real, turned.imag), -1).to(x.dtype)


def _write(cache: KVWrite, k: Tensor, v: Tensor) -> None:
    """Write what has a slot; on a CPU there may be tokens without one."""
    slots = cache.slots
    if slots.device.type == "cpu" and bool((slots < 0).any()):
        real = slots >= 0
        slots, k, v = slots[real], k[real], v[real]
    cache.keys.flatten(0, 1)[slots] = k.to(cache.keys.dtype)
    cache.values.flatten(0, 1)[slots] = v.to(cache.values.dtype)


@dataclass(frozen=True)
class _Shape:
    heads: int
    kv_heads: int
    dim: int


def _head_width(
    qkv: Tensor,
    heads: int,
    kv_heads: int,
    norms: HeadNorms | None,
    rotary: tuple[Tensor, Tensor] | None,
    cache: KVWrite | None,
) -> int:
    """Return D, or raise ``ConfigError`` for shapes that do not fit."""
    total = heads + 2 * kv_heads
    if min(heads, kv_heads) < 1 or qkv.shape[-1] % total:
        raise ConfigError(
            f"prepare_qkv wants qkv [..., (H + 2 K) * D] for H={heads} and K={kv_heads}, got "
            f"{tuple(qkv.shape)}"
        )
    dim = qkv.shape[-1] // total
    if norms is not None and not norms.query.shape == norms.key.shape == (dim,):
        raise ConfigError(
            f"prepare_qkv wants head norms of width {dim}, got {tuple(norms.query.shape)} and "
            f"{tuple(norms.key.shape)}"
        )
    if rotary is not None:
        wanted = (*qkv.shape[:-1], dim // 2)
        if dim % 2 or not rotary[0].shape == rotary[1].shape == wanted:
            raise ConfigError(
                f"prepare_qkv wants cos and sin of shape {wanted} (an even head width), got "
                f"{tuple(rotary[0].shape)} and {tuple(rotary[1].shape)}"
            )
    if cache is not None:
        pool = (kv_heads, dim)
        if qkv.dim() != 2 or cache.slots.shape != qkv.shape[:1] or cache.keys.shape[2:] != pool:
            raise ConfigError(
                f"with a cache prepare_qkv wants packed qkv [N, ...], slots [N] and a pool of "
                f"[n_blocks, block, {kv_heads}, {dim}], got {tuple(qkv.shape)}, "
                f"{tuple(cache.slots.shape)} and {tuple(cache.keys.shape)}"
            )
    return dim


def _prepare_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, slots_ptr,
    q_ptr, k_ptr, keys_ptr, values_ptr, eps,
    H: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
    NORM: tl.constexpr, ROTATE: tl.constexpr, WRITE: tl.constexpr,
    HEADS: tl.constexpr, HALF: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """One program a token, all its heads at once, as two halves ``[HEADS, HALF]``."""
    release_next(EARLY)
    wait_for_inputs(EARLY)
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)
    pair = tl.arange(0, HALF)
    half: tl.constexpr = D // 2
    mask = (head < H + 2 * K)[:, None] & (pair < half)[None, :]
    at = head[:, None] * D + pair[None, :]
    source = qkv_ptr + token * (H + 2 * K) * D + at
    raw = tl.load(source, mask=mask, other=0.0)
    first = raw.to(tl.float32)
    second = tl.load(source + half, mask=mask, other=0.0).to(tl.float32)
    is_value = (head >= H + K)[:, None]
    if NORM:
        square = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        scale = tl.where(head >= H + K, 1.0, tl.rsqrt(square / D + eps))[:, None]
        inside = pair < half
        is_query = (head < H)[:, None]
        for_first = tl.where(
            is_query,
            tl.load(q_weight_ptr + pair, mask=inside, other=0.0).to(tl.float32)[None, :],
            tl.load(k_weight_ptr + pair, mask=inside, other=0.0).to(tl.float32)[None, :],
        )
        for_second = tl.where(
            is_query,
            tl.load(q_weight_ptr + half + pair, mask=inside, other=0.0).to(tl.float32)[None, :],
            tl.load(k_weight_ptr + half + pair, mask=inside, other=0.0).to(tl.float32)[None, :],
        )
        first = (first * scale).to(raw.dtype).to(tl.float32)
        second = (second * scale).to(raw.dtype).to(tl.float32)
        first = tl.where(is_value, first, (first * for_first).to(raw.dtype).to(tl.float32))
        second = tl.where(is_value, second, (second * for_second).to(raw.dtype).to(tl.float32))
    if ROTATE:
        angle = token * half + pair
        cos = tl.load(cos_ptr + angle, mask=pair < half, other=1.0).to(tl.float32)[None, :]
        sin = tl.load(sin_ptr + angle, mask=pair < half, other=0.0).to(tl.float32)[None, :]
        turned = first * cos - second * sin
        other = second * cos + first * sin
        first = tl.where(is_value, first, turned)
        second = tl.where(is_value, second, other)
    first, second = first.to(raw.dtype), second.to(raw.dtype)
    queries = mask & (head < H)[:, None]
    tl.store(q_ptr + token * H * D + at, first, mask=queries)
    tl.store(q_ptr + token * H * D + at + half, second, mask=queries)
    is_key = mask & (head >= H)[:, None] & (head < H + K)[:, None]
    tl.store(k_ptr + token * K * D + at - H * D, first, mask=is_key)
    tl.store(k_ptr + token * K * D + at - H * D + half, second, mask=is_key)
    if WRITE:
        slot = tl.load(slots_ptr + token)
        has_slot = slot + tl.zeros_like(at) >= 0
        is_key = is_key & has_slot
        base = slot * K * D + at - H * D
        tl.store(keys_ptr + base, first, mask=is_key)
        tl.store(keys_ptr + base + half, second, mask=is_key)
        value = mask & is_value & has_slot
        base -= K * D
        tl.store(values_ptr + base, first, mask=value)
        tl.store(values_ptr + base + half, second, mask=value)


def _angles_kernel(  # type: ignore[no-untyped-def]
    positions_ptr, frequencies_ptr, cos_ptr, sin_ptr, half,
    HALF: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    release_next(EARLY)
    wait_for_inputs(EARLY)
    token = tl.program_id(0)
    pair = tl.arange(0, HALF)
    mask = pair < half
    frequency = tl.load(frequencies_ptr + pair, mask=mask, other=0.0).to(tl.float32)
    angle = tl.load(positions_ptr + token).to(tl.float32) * frequency
    tl.store(cos_ptr + token * half + pair, tl.cos(angle), mask=mask)
    tl.store(sin_ptr + token * half + pair, tl.sin(angle), mask=mask)


@cache
def _angles_kernel_of() -> Any:
    return jitted(_angles_kernel, release_next, wait_for_inputs)


@cache
def _kernel() -> Any:
    return jitted(_prepare_kernel, release_next, wait_for_inputs)


def _prepare_triton(
    qkv: Tensor,
    shape: _Shape,
    norms: HeadNorms | None,
    rotary: tuple[Tensor, Tensor] | None,
    cache: KVWrite | None,
) -> tuple[Tensor, Tensor, Tensor]:
    heads, kv_heads, dim = shape.heads, shape.kv_heads, shape.dim
    if dim % 2:
        raise ConfigError(f"backend 'triton' of prepare_qkv wants an even head width, got {dim}")
    qkv = qkv.contiguous()
    lead = qkv.shape[:-1]
    tokens = math.prod(lead)
    q, k = qkv.new_empty(*lead, heads, dim), qkv.new_empty(*lead, kv_heads, dim)
    cos, sin = (None, None) if rotary is None else (x.contiguous() for x in rotary)
    total = heads + 2 * kv_heads
    if tokens:
        _kernel()[(tokens,)](
            qkv, norms and norms.query.contiguous(), norms and norms.key.contiguous(), cos, sin,
            cache and cache.slots.contiguous(),
            q, k, cache and cache.keys, cache and cache.values, 0.0 if norms is None else norms.eps,
            H=heads, K=kv_heads, D=dim,
            NORM=norms is not None, ROTATE=rotary is not None, WRITE=cache is not None,
            HEADS=1 << (total - 1).bit_length(), HALF=1 << (dim // 2 - 1).bit_length(),
            num_warps=4, **launch_options(qkv.device),
        )  # fmt: skip
    return q, k, qkv.unflatten(-1, (total, dim))[..., heads + kv_heads :, :]  # type: ignore[no-untyped-call]
