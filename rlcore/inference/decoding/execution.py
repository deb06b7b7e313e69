"""Running passes: plainly, or on CUDA as a graph of one pass per bucket of rows.

Rows finish at different passes. Every few passes the number of active rows is looked at and, where
it pays, the finished ones are dropped. On CUDA that number is read one look late, so that the host
never waits for the passes it has just launched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.result import ResultBuffers
from rlcore.inference.decoding.state import DecodeState
from rlcore.ops.cuda_graph import record_graph

Step = Callable[[DecodeState], None]
EXECUTIONS = ("auto", "eager", "graph")
SMALLEST_BUCKET = 8


class Runner(Protocol):
    """Holds the rows under way."""

    state: DecodeState

    def run(self, passes: int) -> None:
        """Make passes."""
        ...

    def compact(self, active: int, kept: ResultBuffers) -> None:
        """Store and drop finished rows where it pays; at most ``active`` rows are not finished."""
        ...


class EagerRunner:
    """Calls the pass; drops every finished row.

    Args:
        step: One pass, in place.
        state: The rows.
    """

    def __init__(self, step: Step, state: DecodeState) -> None:
        self.step = step
        self.state = state

    def run(self, passes: int) -> None:
        """See :class:`Runner`."""
        for _ in range(passes):
            self.step(self.state)

    def compact(self, active: int, kept: ResultBuffers) -> None:
        """See :class:`Runner`."""
        if active < len(self.state):
            kept.store(self.state)
            self.state = self.state.take(_active_first(self.state)[:active])


class GraphBank:
    """CUDA graphs of one pass, by shape; captured when a shape is first met.

    Weights may change in place between calls; a module with other tensors needs a new bank.

    Args:
        step: One pass, in place; static shapes, no host synchronisation.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._graphs: dict[Any, tuple[DecodeState, torch.cuda.CUDAGraph]] = {}
        self._pool: Any = None

    def bucket(self, like: DecodeState, rows: int) -> tuple[DecodeState, torch.cuda.CUDAGraph]:
        """Return a state of ``rows`` rows with the shapes of ``like``, and its graph."""
        shapes = tuple((name, tuple(value.shape[1:])) for name, value in like.tensors())
        tables = tuple((name, tuple(value.shape)) for name, value in like.tables.items())
        key = (rows, like.prompt_length, shapes, tables)
        if key not in self._graphs:
            self._graphs[key] = self._capture(like, rows)
        return self._graphs[key]

    def _capture(self, like: DecodeState, rows: int) -> tuple[DecodeState, torch.cuda.CUDAGraph]:
        index = torch.arange(rows, device=like.ids.device).clamp(max=len(like) - 1)
        static = like.take(index)
        static.tables = {name: table.clone() for name, table in like.tables.items()}
        graph = record_graph(lambda: self._step(static), static.ids.device, self._pool)
        self._pool = graph.pool()
        return static, graph


class GraphRunner:
    """Replays captured passes; drops finished rows when a smaller bucket holds the others.

    Args:
        bank: The graphs.
        state: The rows before the first pass.
    """

    def __init__(self, bank: GraphBank, state: DecodeState) -> None:
        self._bank = bank
        self._nowhere = len(state)
        self._enter(state)

    def _enter(self, state: DecodeState) -> None:
        self.state, self._graph = self._bank.bucket(state, row_bucket(len(state)))
        self.state.place.fill_(self._nowhere)
        self.state.copy_(state)

    def run(self, passes: int) -> None:
        """See :class:`Runner`."""
        for _ in range(passes):
            self._graph.replay()

    def compact(self, active: int, kept: ResultBuffers) -> None:
        """See :class:`Runner`."""
        if row_bucket(active) < len(self.state):
            kept.store(self.state)
            self._enter(self.state.take(_active_first(self.state)[:active]))


class ActiveCount:
    """Reads the number of active rows: at once on CPU, one look late on CUDA.

    Args:
        device: Where the rows are.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._waiting: list[tuple[Tensor, torch.cuda.Event]] = []

    def look(self, state: DecodeState) -> int:
        """Return a number that at least bounds the active rows from above."""
        if not self._cuda:
            return int(state.active.sum())
        count = torch.empty((), dtype=torch.int64, pin_memory=True)
        count.copy_(state.active.sum(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._waiting.append((count, event))
        if len(self._waiting) < 2:
            return len(state)
        count, event = self._waiting.pop(0)
        event.synchronize()
        return int(count)


def run_passes(runner: Runner, kept: ResultBuffers, *, limit: int, every: int) -> None:
    """Make passes until no row is active, or ``limit`` of them; store every row.

    Args:
        runner: The rows.
        kept: Receives rows when they are dropped, and the others at the end.
        limit: Most passes any row can take.
        every: Passes between two looks at the number of active rows.
    """
    looks = ActiveCount(runner.state.ids.device)
    done = 0
    while done < limit:
        passes = min(every, limit - done)
        runner.run(passes)
        done += passes
        if done == limit:
            break
        active = looks.look(runner.state)
        if active == 0:
            break
        runner.compact(active, kept)
    kept.store(runner.state)


def row_bucket(rows: int) -> int:
    """Return the smallest of 8, 12, 16, 24, 32, 48, ... that is at least ``rows``."""
    bucket = SMALLEST_BUCKET
    while bucket < rows:
        half = bucket + bucket // 2
        if half >= rows:
            return half
        bucket *= 2
    return bucket


def choose_execution(execution: str, device: torch.device, reads_back: bool) -> str:
    """Return ``eager`` or ``graph``.

    Raises:
        ConfigError: The name is unknown, or a graph cannot be captured here.
    """
    if execution not in EXECUTIONS:
        raise ConfigError(f"execution must be one of {EXECUTIONS}, got {execution!r}")
    if execution == "graph" and device.type != "cuda":
        raise ConfigError(f"execution graph wants a CUDA device, got {device}")
    if execution == "graph" and reads_back:
        raise ConfigError("execution graph: the cache or recorder reads the device in every pass")
    if execution == "auto":
        return "graph" if device.type == "cuda" and not reads_back else "eager"
    return execution


def _active_first(state: DecodeState) -> Tensor:
    return torch.argsort(~state.active, stable=True)
