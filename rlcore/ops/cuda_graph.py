"""Device work recorded once and replayed: a chain of kernels for the price of one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rlcore.ops.cycles import no_collection

WARM_UPS = 2
"""Runs before a recording: libraries choose their algorithms and take their memory in them."""


def record_graph(
    work: Callable[[], Any], device: torch.device, pool: Any = None
) -> torch.cuda.CUDAGraph:
    """Return a graph of ``work``, which is run a few times before.

    Args:
        work: Device work of fixed shapes, which does not wait for the device. It reads and writes
            the same tensors at each replay.
        device: A CUDA device.
        pool: Memory of graphs that are never replayed at the same time, from ``graph.pool()`` of
            the first; ``None`` for memory of its own.
    """
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    # A graph that is freed while another is recorded, as part of an old engine that nobody holds
    # any more, makes the recording invalid.
    with no_collection(), torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        work()
    return graph
