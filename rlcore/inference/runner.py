"""Runs the model for the engine: the eager runner, exact on any device.

A runner owns the tensors of the KV pool. One step computes the keys and values of known tokens
(prefill) and, for each row of the decode batch, feeds one token and draws the next.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig
from rlcore.inference.prefill import PrefillBatch
from rlcore.inference.rows import RowTable
from rlcore.nn.transformer.config import TransformerConfig
from rlcore.nn.transformer.memory import KVWrite
from rlcore.nn.transformer.model import Transformer
from rlcore.ops.attention.paged import PagedBatch, paged_attention
from rlcore.ops.backends import Backend, is_installed, override, resolve_backend
from rlcore.ops.sampling import SamplingRows, mark_seen, sample

CPU_POOL_BYTES = 4 << 30
"""The memory that ``kv_fraction`` is a share of where there is no device memory to ask for."""


class Drawn(NamedTuple):
    """What a step drew: int64 and floating ``[n]``, one entry a fed row."""

    tokens: NDArray[np.int64]
    log_probs: NDArray[np.floating[Any]]
    raw_log_probs: NDArray[np.floating[Any]]


@dataclass(eq=False)
class Launch:
    """A step that was launched.

    Attributes:
        rows: int64 ``[n]``, the rows that it fed.
        tenants: int64 ``[n]``, who had them.
        version: Version of the weights.
        result: What was drawn, or what the runner needs to get it.
    """

    rows: NDArray[np.int64]
    tenants: NDArray[np.int64]
    version: int
    result: Any = field(default=None, repr=False)


class Runner(Protocol):
    """Runs steps; see the module."""

    overlaps: bool
    """Whether :meth:`launch` returns before its tokens are known."""

    rides: bool
    """Whether a prefill is a pass of its own, so that few tokens had better ride with a step."""

    def launch(self, prefill: PrefillBatch | None, rows: RowTable, launch: Launch) -> None:
        """Run a step; advance ``rows`` by one token."""
        ...

    def read(self, launch: Launch) -> Drawn:
        """Return what a launched step drew."""
        ...

    def synchronize(self) -> None:
        """Wait until all launched work is done."""
        ...


class KVPool:
    """Keys and values of all layers, ``[layers, num_blocks + 1, block, K, D]``.

    Keys are stored after the rotation, so that a block carries its positions with it. The last
    block is nobody's: what is not to be kept is written there.
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_blocks: int,
        block: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (config.layers, num_blocks + 1, block, config.num_kv_heads, config.head_size)
        # Zeros, as a block that was never written must not hold NaN: its weight is 0, not absent.
        self.keys = _zeros(shape, dtype, device)
        self.values = _zeros(shape, dtype, device)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros; on a CPU in pages that take memory only when they are first written.

    Large pages, where the system has them: the processor finds keys with fewer look-ups.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def block_bytes(config: TransformerConfig, block: int, dtype: torch.dtype) -> int:
    """Return the bytes of one block, keys and values of all layers."""
    width = config.num_kv_heads * config.head_size
    return 2 * config.layers * block * width * dtype.itemsize


def pool_size(
    config: EngineConfig, model: TransformerConfig, dtype: torch.dtype, device: torch.device
) -> int:
    """Return the number of blocks of the pool.

    Raises:
        ConfigError: ``kv_fraction`` leaves room for none, or ``num_blocks`` do not fit the memory.
    """
    if config.num_blocks is not None:
        _check_memory(config.num_blocks, block_bytes(model, config.block_size, dtype), device)
        return config.num_blocks
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else CPU_POOL_BYTES
    count = int(free * config.kv_fraction) // block_bytes(model, config.block_size, dtype)
    if count < 1:
        raise ConfigError(
            f"engine.kv_fraction={config.kv_fraction} of {free} bytes holds no block of "
            f"{block_bytes(model, config.block_size, dtype)} bytes"
        )
    return count


def _check_memory(count: int, size: int, device: torch.device) -> None:
    if device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[1]
    else:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if count * size > room:
        raise ConfigError(
            f"engine.num_blocks={count} takes {count * size:,} bytes ({size:,} a block); the "
            f"memory has {room:,}, wanted at most {room // size} blocks"
        )


class PagedMemory:
    """The transformer's view of the pool for one batch; see :class:`Memory`."""

    def __init__(self, pool: KVPool, batch: PagedBatch) -> None:
        self.keys, self.values = pool.keys, pool.values
        self.batch = batch

    def cache(self, layer: int) -> KVWrite:
        """Return where the layer's new keys and values go."""
        return KVWrite(self.keys[layer], self.values[layer], self.batch.slots)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention over the blocks that each row lists."""
        return paged_attention(q, self.keys[layer], self.values[layer], self.batch)


def cpu_backend(asked: Backend, model: Transformer) -> Backend:
    """Return the kernels of the forward pass and the sampler: ``auto`` takes numba's where it can.

    Raises:
        ConfigError: numba cannot run this model.
        MissingDependencyError: It is not installed.
    """
    numba = is_installed("numba") and override() is None
    if asked not in ("auto", "numba") or (asked == "auto" and not numba):
        return asked
    if asked == "numba":
        resolve_backend("numba", torch.empty(0, dtype=torch.float32, device="cpu"))
    from rlcore.nn.transformer.numba_pass import why_not

    reason = why_not(model)
    if asked == "numba" and reason is not None:
        raise ConfigError(f"engine.backend numba cannot run this model: {reason}")
    return "auto" if reason is not None else "numba"


class EagerRunner:
    """One forward pass a step: prefill and decode rows packed together.

    Args:
        model: In evaluation mode.
        pool: Its keys and values.
        device: Where they are.
        backend: Kernels of the forward pass and the sampler; see :func:`cpu_backend`.

    Attributes:
        observe: Called with (rows, logits ``[n, V]``) of each step where it is set.
    """

    overlaps = False
    rides = False

    def __init__(
        self, model: Transformer, pool: KVPool, device: torch.device, backend: Backend = "auto"
    ) -> None:
        self.model, self.pool, self.device = model, pool, device
        self.backend = cpu_backend(backend, model)
        self._forward: Callable[[Tensor, Tensor, PagedBatch, int], Tensor] = self._forward_torch
        if self.backend == "numba":
            from rlcore.nn.transformer.numba_pass import NumbaPass

            self._forward = NumbaPass(model, pool.keys, pool.values)
        self.observe: Callable[[NDArray[np.int64], Tensor], None] | None = None

    @torch.inference_mode()
    def launch(self, prefill: PrefillBatch | None, rows: RowTable, launch: Launch) -> None:
        """Run a step and draw its tokens."""
        fed = launch.rows
        packed = pack_step(prefill, rows, fed)
        batch = PagedBatch(
            self._put(packed.starts),
            self._put(packed.table),
            self._put(packed.fill),
            self._put(packed.slots),
            max_query=packed.max_query,
            max_blocks=packed.table.shape[1],
        )
        ids, positions = self._put(packed.ids), self._put(packed.positions)
        logits = self._forward(ids, positions, batch, len(fed))
        if len(fed) == 0:
            launch.result = Drawn(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
            return
        if self.observe is not None:
            self.observe(fed, logits)
        drawn = sample(logits, self._settings(rows, fed), backend=self.backend)
        if rows.seen is not None:
            mark_seen(torch.from_numpy(rows.seen), torch.from_numpy(fed), drawn.tokens.cpu())
        tokens, log_probs, raw = (x.cpu().numpy() for x in drawn)
        rows.token[fed] = tokens
        launch.result = Drawn(tokens, log_probs, raw)

    def _forward_torch(
        self, ids: Tensor, positions: Tensor, batch: PagedBatch, last: int
    ) -> Tensor:
        """Return the logits ``[last, V]`` of the last packed tokens."""
        memory = PagedMemory(self.pool, batch)
        hidden = self.model.hidden(ids, positions=positions, memory=memory)
        return self.model.head(hidden[len(ids) - last :])

    def _settings(self, rows: RowTable, fed: NDArray[np.int64]) -> SamplingRows:
        """Return the rows' settings; what is off in all of them is left out."""
        top_k, top_p, penalty = rows.top_k[fed], rows.top_p[fed], rows.penalty[fed]
        penalised = rows.seen is not None and bool((penalty != 1.0).any())
        return SamplingRows(
            keys=self._put(rows.key[fed]),
            positions=self._put(rows.position[fed]),
            temperature=self._put(rows.temperature[fed]),
            top_k=self._put(top_k) if top_k.any() else None,
            top_p=self._put(top_p) if (top_p < 1.0).any() else None,
            penalty=self._put(penalty) if penalised else None,
            seen=self._put(rows.seen[fed]) if penalised and rows.seen is not None else None,
        )

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def read(self, launch: Launch) -> Drawn:
        """Return what the step drew."""
        drawn: Drawn = launch.result
        return drawn

    def synchronize(self) -> None:
        """All work is done when :meth:`launch` returns."""


def pack_step(prefill: PrefillBatch | None, rows: RowTable, fed: NDArray[np.int64]) -> PrefillBatch:
    """Return prefill chunks and, behind them, one token of each fed row; advance the rows.

    Keys and values of all packed tokens are written before any is attended to, so a row may list
    what another of the same step writes.
    """
    ids, positions = rows.token[fed], rows.position[fed]
    slots = rows.advance(fed)
    width = int(rows.width[fed].max(initial=1))
    table, fill = rows.table[fed, :width], rows.fill[fed, :width]
    starts = np.arange(len(fed) + 1, dtype=np.int32)
    decode = PrefillBatch(ids, positions, slots, starts, table, fill)
    if prefill is None:
        return decode
    width = max(width, prefill.table.shape[1])
    return PrefillBatch(
        ids=np.concatenate([prefill.ids, ids]),
        positions=np.concatenate([prefill.positions, positions]),
        slots=np.concatenate([prefill.slots, slots]),
        starts=np.concatenate([prefill.starts, prefill.starts[-1] + starts[1:]]),
        table=np.concatenate([_widened(prefill.table, width), _widened(table, width)]),
        fill=np.concatenate([_widened(prefill.fill, width), _widened(fill, width)]),
    )


def _widened(array: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))
