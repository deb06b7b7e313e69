"""A transformer's pass over packed tokens on a CPU, as compiled loops (optional package numba).

The twin of :meth:`Transformer.forward` with a KV memory: the same numbers in another order of
summation, without a tensor's overhead at each of the hundred operations. Where there are many
tokens, or threads to share them, torch multiplies the matrices.

Legend: ``N`` packed tokens, ``D`` width, ``F`` the MLP's width, ``V`` vocabulary, ``K`` key heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlcore.nn.transformer.mixers import Attention
from rlcore.nn.transformer.mlp import SwiGLU
from rlcore.nn.transformer.model import Block, Transformer
from rlcore.nn.transformer.norm import RMSNorm
from rlcore.ops.attention.paged import PagedBatch, paged_attention
from rlcore.ops.attention.paged_numba import attend
from rlcore.ops.linear_numba import linear_kernel
from rlcore.ops.norm_numba import norm_kernel
from rlcore.ops.rotary_numba import prepare_kernel
from rlcore.ops.swiglu_numba import gate_kernel

Array = NDArray[Any]

FEW_TOKENS = 64
"""Up to here the compiled product of matrices is the faster one."""

FEW_QUERIES = 128
"""New tokens of a row up to which its attention is faster compiled."""

PORTION = 256
"""Tokens whose keys, or what the MLP makes of them, are computed at a time."""

MOST_TURNS = 2**14
"""Positions whose cosines and sines are remembered."""

FEW_THREADS, SHORT = 2, 2**22
"""The compiled product has one thread and keeps up with two of torch's; long ones may have more."""


def why_not(model: Transformer) -> str | None:
    """Return what of a model the compiled loops cannot run, or ``None``."""
    weight, exact = model.embed.weight, not model.config.float32_statistics
    if weight.device.type != "cpu":
        return f"it is on {weight.device.type}, wanted cpu"
    if weight.dtype != torch.float32 and not (weight.dtype == torch.float64 and exact):
        return (
            f"it is {weight.dtype}, wanted torch.float32, or torch.float64 without "
            "float32_statistics"
        )
    if not all(parameter.is_contiguous() for parameter in model.parameters()):
        return "its weights lie in memory in pieces, wanted contiguous ones"
    for block in model.blocks:
        for part, wanted in ((block.mixer, Attention), (block.mixer_norm, RMSNorm)):
            if not isinstance(part, wanted):
                return f"it has a {type(part).__name__}, wanted {wanted.__name__}"
    return None


@dataclass(frozen=True, eq=False)
class _Layer:
    """A block's weights and its part of the pool, as arrays that share their memory.

    Attributes:
        norms: Of the mixer's and the MLP's input.
        qkv: ``[(H + 2 K) * head_dim, D]``.
        bias: Of ``qkv``, or ``None``.
        head_norms: Of queries and keys, ``[head_dim]``; empty where there are none.
        head_eps: Their epsilon.
        out: ``[D, H * head_dim]``.
        mlp: The gate's and the other rows ``[2 F, D]`` and the way back ``[D, F]``, or the module
            where it is no :class:`SwiGLU`.
        pool: Keys and values, each ``[slots, K, head_dim]``.
    """

    norms: tuple[Array, Array]
    qkv: Array
    bias: Array | None
    head_norms: tuple[Array, Array]
    head_eps: float
    out: Array
    mlp: tuple[Array, Array] | nn.Module
    pool: tuple[Array, Array]


class _Tokens(NamedTuple):
    """Packed tokens.

    Attributes:
        cos, sin: ``[N, head_dim / 2]``, or ``[N, 0]`` where heads are not rotated.
        slots: int64 ``[N]``, where keys and values go.
        batch: What their rows see.
    """

    cos: Array
    sin: Array
    slots: Array
    batch: PagedBatch

    def until(self, end: int) -> _Tokens:
        """Return the first ones; their keys are written, but they attend to nothing."""
        return _Tokens(self.cos[:end], self.sin[:end], self.slots[:end], self.batch)

    def since(self, first: int) -> _Tokens:
        """Return the others: rows keep the last of their new tokens."""
        starts = (self.batch.query_starts - first).clamp(min=0)
        most, slots = int(starts.diff().max()), self.batch.slots[first:]
        batch = replace(self.batch, query_starts=starts, slots=slots, max_query=most)
        return _Tokens(self.cos[first:], self.sin[first:], self.slots[first:], batch)


class NumbaPass:
    """See the module.

    Weights are read where they lie: changes in place count at once. A parameter that is replaced,
    or its memory, is looked up anew.

    Args:
        model: One that :func:`why_not` has nothing against.
        keys: ``[layers, blocks, block, K, head_dim]``, the pool's keys after rotation.
        values: Likewise.
    """

    def __init__(self, model: Transformer, keys: Tensor, values: Tensor) -> None:
        self.model, self._pool = model, (keys, values)
        config = model.config
        self._kinds = config.heads, config.num_kv_heads
        self._eps, self._block = config.norm_eps, keys.shape[2]
        self._load()

    def _load(self) -> None:
        """Take the arrays of the model's parameters."""
        self._turns = (np.empty((0, 0)),) * 2
        self._read = [
            (module._parameters, name, parameter, parameter.data_ptr())
            for module in self.model.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._layers = [self._layer(i, block) for i, block in enumerate(self.model.blocks)]  # type: ignore[arg-type]
        self._norm, self._head = _array(self.model.norm.weight), _array(self.model.head_weight)

    def _layer(self, index: int, block: Block) -> _Layer:
        mixer, mlp = block.mixer, block.mlp
        assert isinstance(mixer, Attention)
        norms = mixer.q_norm, mixer.k_norm
        empty = np.empty(0, _array(mixer.qkv.weight).dtype)
        return _Layer(
            (_array(block.mixer_norm.weight), _array(block.mlp_norm.weight)),
            _array(mixer.qkv.weight),
            None if mixer.qkv.bias is None else _array(mixer.qkv.bias),
            tuple(empty if norm is None else _array(norm.weight) for norm in norms),  # type: ignore[arg-type]
            0.0 if norms[0] is None else norms[0].eps,
            _array(mixer.out.weight),
            (_array(mlp.gate_up.weight), _array(mlp.down.weight))
            if isinstance(mlp, SwiGLU)
            else mlp,
            tuple(pool[index].flatten(0, 1).numpy() for pool in self._pool),  # type: ignore[arg-type]
        )

    def __call__(self, ids: Tensor, positions: Tensor, batch: PagedBatch, last: int) -> Tensor:
        """Write the tokens' keys and values to the pool; return logits ``[last, V]``.

        Args:
            ids: int64 ``[N]``.
            positions: int64 ``[N]``.
            batch: What each row sees.
            last: Of how many tokens at the end logits are wanted.
        """
        if any(own[name] is not p or p.data_ptr() != at for own, name, p, at in self._read):
            self._load()
        embedded = self.model.embedded(ids, positions)
        x, angles = embedded.detach().numpy(), self._angles(positions, embedded.dtype)
        tokens = _Tokens(*angles, batch.slots.numpy(), batch)
        early = len(x) - last
        for index, layer in enumerate(self._layers):
            if early and index == len(self._layers) - 1:
                # Of these only what later tokens attend to is wanted from here on.
                self._heads(layer, x[:early], tokens.until(early), queries=0)
                x, tokens = x[early:], tokens.since(early)
            if len(x):
                self._attend(index, layer, x, tokens)
                self._transform(layer, x)
        normed, logits = np.empty_like(x), np.empty((last, len(self._head)), x.dtype)
        norm_kernel()(x, self._norm, self._eps, normed)
        _linear(normed, self._head, logits)
        return torch.from_numpy(logits)

    def _angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Array, Array]:
        """Return the positions' cosines and sines ``[N, head_dim / 2]``, or ``[N, 0]``."""
        rotary, places = self.model.rotary, positions.numpy()
        if rotary is None:
            return (torch.empty(len(places), 0, dtype=dtype).numpy(),) * 2
        top = int(places.max(initial=0))
        if top >= MOST_TURNS:
            cos, sin = rotary(positions, dtype)
            return cos.numpy(), sin.numpy()
        if top >= len(self._turns[0]):
            cos, sin = rotary(torch.arange(2 << top.bit_length()), dtype)
            self._turns = cos.numpy(), sin.numpy()
        return self._turns[0][places], self._turns[1][places]

    def _heads(self, layer: _Layer, x: Array, tokens: _Tokens, queries: int) -> Array:
        """Return the heads ``[N, queries + 2 K, head_dim]``; write keys and values to the pool."""
        width = layer.pool[0].shape[-1]
        skipped = (self._kinds[0] - queries) * width
        weight = layer.qkv[skipped:]
        qkv = np.empty((len(x), len(weight)), x.dtype)
        if layer.bias is not None:
            qkv[:] = layer.bias[skipped:]
        for part, out in zip(_portions(x), _portions(qkv), strict=True):
            normed = np.empty_like(part)
            norm_kernel()(part, layer.norms[0], self._eps, normed)
            _linear(normed, weight, out, add=layer.bias is not None)
        heads = qkv.reshape(len(x), -1, width)
        prepare_kernel()(
            heads, (queries, self._kinds[1]), *layer.head_norms, layer.head_eps, tokens.cos,
            tokens.sin, tokens.slots, *layer.pool,
        )  # fmt: skip
        return heads

    def _attend(self, index: int, layer: _Layer, x: Array, tokens: _Tokens) -> None:
        """``x += attention(norm(x))``."""
        queries, width = self._kinds[0], layer.pool[0].shape[-1]
        heads, batch = self._heads(layer, x, tokens, queries), tokens.batch
        if batch.max_query <= FEW_QUERIES:
            mixed = np.empty((len(x), queries, width), x.dtype)
            attend(heads, *layer.pool, self._block, batch, 1.0 / math.sqrt(width), mixed)
        else:
            keys, values = (pool[index] for pool in self._pool)
            some = torch.from_numpy(heads)[:, :queries]
            mixed = paged_attention(some, keys, values, batch, backend="torch").numpy()
        _linear(mixed.reshape(len(x), -1), layer.out, x, add=True)

    def _transform(self, layer: _Layer, x: Array) -> None:
        """``x += mlp(norm(x))``."""
        experts = isinstance(layer.mlp, nn.Module)
        for part in [x] if experts else _portions(x):
            normed = np.empty_like(part)
            norm_kernel()(part, layer.norms[1], self._eps, normed)
            if isinstance(layer.mlp, nn.Module):
                more, _ = layer.mlp(torch.from_numpy(normed), None)
                part += more.numpy()
                return
            gate_up = np.empty((len(part), len(layer.mlp[0])), x.dtype)
            hidden = np.empty((len(part), gate_up.shape[1] // 2), x.dtype)
            _linear(normed, layer.mlp[0], gate_up)
            gate_kernel()(gate_up, hidden)
            _linear(hidden, layer.mlp[1], part, add=True)


def _portions(rows: Array) -> list[Array]:
    """Return views of rows, as many at a time as leave their products in the core's cache."""
    return [rows[first : first + PORTION] for first in range(0, len(rows), PORTION)]


def _linear(x: Array, weight: Array, out: Array, *, add: bool = False) -> None:
    """``out = x weight^T``, or ``out +=`` that."""
    alone = torch.get_num_threads() <= FEW_THREADS or len(x) * weight.size <= SHORT
    if len(x) <= FEW_TOKENS and alone:
        linear_kernel()(x, weight, out, add)
    else:
        product, matrix = torch.from_numpy(out), torch.from_numpy(weight).t()
        torch.addmm(product, torch.from_numpy(x), matrix, beta=int(add), out=product)


def _array(weight: Any) -> Array:
    array: Array = weight.detach().numpy()
    return array
