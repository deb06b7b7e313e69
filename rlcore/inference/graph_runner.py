"""Runs decode steps of a GPU as CUDA graphs, one step ahead of what the host has read.

A graph takes a number of rows from a list of buckets and a width of block lists. It reads what the
step before drew from device memory and advances the rows itself, so that the host only uploads
what happened: rows that came or went, blocks that were added. The step after is launched before
the tokens of this one are read. Prompts have graphs of their own
(:mod:`rlcore.inference.prefill_graphs`).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlcore.inference.config import EngineConfig
from rlcore.inference.device_pieces import DevicePieces
from rlcore.inference.device_rows import DeviceRows
from rlcore.inference.prefill import PrefillBatch
from rlcore.inference.prefill_graphs import Graph, PrefillGraphs
from rlcore.inference.rows import RowTable
from rlcore.inference.runner import Drawn, KVPool, Launch, PagedMemory
from rlcore.nn.transformer.model import Transformer
from rlcore.ops.attention.paged import PagedBatch
from rlcore.ops.cuda_graph import record_graph
from rlcore.ops.sampling import SamplingRows, mark_seen, sample


@dataclass(frozen=True, slots=True)
class GraphKey:
    """What a captured graph depends on.

    Attributes:
        rows: The bucket.
        width: Entries of a block list.
        truncated: Whether top-k and top-p are looked at.
        penalised: Whether repetition penalties are.
        own: Entries that a row keeps for itself where rows share others; 0 where none do.
    """

    rows: int
    width: int
    truncated: bool
    penalised: bool
    own: int = 0


class _Eager:
    """Stands for a graph where there are none: overlapped scheduling on a CPU."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.replay = step


class GraphRunner:
    """See the module.

    Args:
        model: In evaluation mode; on a CPU steps are run as they are, without graphs.
        pool: Its keys and values.
        rows: The host's row tables.
        config: Buckets; whether to overlap.
    """

    rides = True

    def __init__(
        self, model: Transformer, pool: KVPool, rows: RowTable, config: EngineConfig
    ) -> None:
        self.model, self.pool = model, pool
        self.device = model.embed.weight.device
        self.overlaps = config.overlap is not False
        buckets = [bucket for bucket in config.cuda_graph_buckets if bucket < config.max_rows]
        self.buckets = [*buckets, config.max_rows]
        self.rows = DeviceRows(rows, self.device)
        self._on_gpu = self.device.type == "cuda"
        cascade = self.rows.backend == "triton" if config.cascade is None else config.cascade
        self.pieces = DevicePieces(self.rows, model.config.num_kv_heads) if cascade else None
        self._graphs: dict[GraphKey, Graph] = {}
        self._memory: Any = None
        self.prefills = PrefillGraphs(self._prefill, self.rows.put, self._recorded)
        count = len(rows.active)
        # Tokens and, as bits, two log-probabilities.
        self._out = torch.zeros(3, count, dtype=torch.int32, device=self.device)
        inboxes = [torch.zeros(3, count, dtype=torch.int32) for _ in range(3)]
        self._inboxes = [box.pin_memory() if self._on_gpu else box for box in inboxes]
        self._arrived = [
            torch.cuda.Event() if self._on_gpu else None  # type: ignore[no-untyped-call]
            for _ in inboxes
        ]
        self._turn = 0

    @property
    def captured(self) -> list[GraphKey]:
        """The graphs that exist."""
        return list(self._graphs)

    @torch.inference_mode()
    def launch(self, prefill: PrefillBatch | None, rows: RowTable, launch: Launch) -> None:
        """Run a step; return at once."""
        if prefill is not None:
            self.prefills.run(prefill)
        fed = launch.rows
        if self.pieces is not None:
            self.pieces.update(fed)
        self.rows.upload(fed)
        if len(fed) == 0:
            return
        rows.advance(fed)
        self._graph(self._key(rows, fed)).replay()
        self._turn = (self._turn + 1) % len(self._inboxes)
        inbox, arrived = self._inboxes[self._turn], self._arrived[self._turn]
        inbox.copy_(self._out, non_blocking=True)
        if arrived is not None:
            arrived.record()
        launch.result = (inbox, arrived)

    def _key(self, rows: RowTable, fed: NDArray[np.int64]) -> GraphKey:
        bucket = self.buckets[bisect.bisect_left(self.buckets, int(fed[-1]) + 1)]
        truncated = bool(rows.top_k[fed].any() or (rows.top_p[fed] < 1.0).any())
        penalised = rows.seen is not None and bool((rows.penalty[fed] != 1.0).any())
        own = 0 if self.pieces is None else self.pieces.own
        return GraphKey(bucket, self.rows.width, truncated, penalised, own)

    def read(self, launch: Launch) -> Drawn:
        """Wait for a step's tokens and return them."""
        if launch.result is None:
            return Drawn(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
        inbox, arrived = launch.result
        if arrived is not None:
            arrived.synchronize()
        drawn = inbox.numpy()[:, launch.rows]
        return Drawn(
            drawn[0].astype(np.int64), drawn[1].view(np.float32), drawn[2].view(np.float32)
        )

    def synchronize(self) -> None:
        """Wait until all launched work is done."""
        if self._on_gpu:
            torch.cuda.synchronize(self.device)

    def warm_up(self, rows: int | None = None, blocks: int = 16) -> None:
        """Capture the graphs of plain sampling up to a number of rows, before they are needed.

        Args:
            rows: Rows that decode at once; ``None`` for as many as there are.
            blocks: Entries of the longest block list.
        """
        before = self.rows.width
        self.rows.width = max(before, 1 << (blocks - 1).bit_length())
        for bucket in self.buckets:
            self._graph(GraphKey(bucket, self.rows.width, False, False))
            if bucket >= (rows or self.buckets[-1]):
                break
        self.rows.width = before

    def _graph(self, key: GraphKey) -> Graph:
        if key not in self._graphs:
            with self.rows.idle():
                self._graphs[key] = self._recorded(partial(self._step, key))
        return self._graphs[key]

    @torch.inference_mode()
    def _recorded(self, work: Callable[[], None]) -> Graph:
        """Return a graph of device work; it is run before, for nothing else."""
        if not self._on_gpu:
            return _Eager(work)
        graph = record_graph(work, self.device, self._memory)
        self._memory = graph.pool()
        return graph

    def _step(self, key: GraphKey) -> None:
        """Feed one token a row, draw the next; only device work."""
        rows, count = self.rows, key.rows
        ids, positions, slots, table, fill = rows.advance(count, key.width)
        shared = self.pieces.prefix(count, key.own) if self.pieces and key.own else None
        batch = PagedBatch(
            rows.starts[: count + 1], table, fill, slots, 1, max_blocks=key.width, prefix=shared
        )
        hidden = self.model.hidden(ids, positions=positions, memory=PagedMemory(self.pool, batch))
        drawn = sample(
            self.model.head(hidden),
            SamplingRows(
                keys=rows.key[:count],
                positions=rows.position[:count],
                temperature=rows.temperature[:count],
                top_k=rows.top_k[:count] if key.truncated else None,
                top_p=rows.top_p[:count] if key.truncated else None,
                penalty=rows.penalty[:count] if key.penalised else None,
                seen=None if rows.seen is None or not key.penalised else rows.seen[:count],
            ),
        )
        if rows.seen is not None and key.penalised:
            mark_seen(rows.seen, rows.starts[:count].long(), drawn.tokens)
        rows.record(drawn, self._out)

    def _prefill(self, ids: Tensor, positions: Tensor, batch: PagedBatch) -> None:
        self.model.hidden(ids, positions=positions, memory=PagedMemory(self.pool, batch))
