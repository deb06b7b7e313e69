"""Time CUDA work: captured, interleaved A B A B, medians of events, beside a copy of memory."""

from __future__ import annotations

import json
import os
import statistics
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rlcore.ops.cuda_graph import record_graph

SAMPLES = 30
COPIED_BYTES = 1 << 30


def captured(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """Return a CUDA graph of ``call``, which must not wait for the device."""
    return record_graph(call, torch.device("cuda"))


def interleaved(
    graphs: dict[str, torch.cuda.CUDAGraph], replays: int = 4, samples: int = SAMPLES
) -> dict[str, dict[str, float]]:
    """Replay the graphs in turn and return microseconds a replay: median, least, most."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for index in range(samples + 3):
        for name, graph in graphs.items():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(replays):
                graph.replay()
            end.record()
            end.synchronize()
            if index >= 3:  # the first rounds warm clocks and caches
                times[name].append(begin.elapsed_time(end) * 1e3 / replays)
    return {
        name: {"us": statistics.median(t), "least": min(t), "most": max(t)}
        for name, t in times.items()
    }


def copy_bandwidth() -> float:
    """Return the bytes a second that a device copy reads and writes."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    graph = captured(lambda: target.copy_(source))
    seconds = interleaved({"copy": graph}, replays=2)["copy"]["us"] * 1e-6
    return 2 * COPIED_BYTES / seconds


class Report:
    """Collects the sections' results; one that fails does not stop the others."""

    def __init__(self, name: str) -> None:
        self.path = Path(os.environ.get("OUT", "."), f"{name}.json")
        self.results: dict[str, Any] = {
            "bench": name,
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        }

    def section(self, name: str, run: Callable[[], Any]) -> None:
        """Run a section, keep its result or its error, and write the file."""
        try:
            result = run()
        except Exception as problem:  # the error is the section's result; main reports failure
            traceback.print_exc()
            result = {"error": f"{type(problem).__name__}: {problem}"}
        self.results[name] = result
        sys.stdout.write(f"{name}: {json.dumps(result)}\n")
        sys.stdout.flush()
        self.path.write_text(json.dumps(self.results, indent=1) + "\n")

    def failed(self) -> list[str]:
        """Return the names of the sections that failed."""
        return [k for k, v in self.results.items() if isinstance(v, dict) and "error" in v]
