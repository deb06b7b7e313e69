"""Measures the Triton engine: cell updates a second, and the share of the memory's limit.

A cell update in float32 reads nine populations and writes nine: 72 bytes. The limit is what the
device copies a second (measured beside, in the same process), over 72 bytes. Run it with
``python -m envs.finray.bench_gpu``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BYTES = 72
"""Moved by one update of a cell: 2 x 9 populations of 4 bytes."""


def seconds_of(torch: Any, work: Callable[[], None], repeats: int) -> float:
    """Return the least time of ``work`` on the device over some repeats."""
    best = float("inf")
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3)
    return best


def copied_bytes(torch: Any) -> float:
    """Return the bytes a second that the device reads and writes in a large copy."""
    source = torch.zeros(2**28, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)

    def work() -> None:
        for _ in range(10):
            target.copy_(source)

    return 10 * 2 * 4 * source.numel() / seconds_of(torch, work, 5)


def measure(torch: Any, preset: str, environments: int, block: int, warps: int) -> dict[str, Any]:
    """Return updates a second of the fluid alone and of fluid and ray together."""
    from envs.finray.lbm import FinRayLBM
    from envs.finray.triton_engine import Run, TritonEngine

    model = FinRayLBM(preset, backend="triton", device="cuda", dtype="float32", passive_time=0.0)
    engine = TritonEngine(model.fluid, model.chain, "float32", "cuda", block=block, warps=warps)
    f = engine.uniform(environments).tensor
    g = torch.empty_like(f)
    still = np.zeros((environments, model.chain.links))
    a = np.zeros((environments, 1))
    run = Run(engine, environments, still, still, a, a + 0.1)
    steps, cells = 50, environments * model.fluid.nx * model.fluid.ny

    def fluid_only() -> None:
        for _ in range(steps // 2):
            run.fluid_step(f, g)
            run.fluid_step(g, f)

    def coupled() -> None:
        for _ in range(steps // 2):
            run.chain_step(f, 10**6)
            run.fluid_step(f, g)
            run.chain_step(g, 10**6)
            run.fluid_step(g, f)

    coupled()
    alone = steps * cells / seconds_of(torch, fluid_only, 5)
    return {
        "preset": preset,
        "environments": environments,
        "cells": cells,
        "block": block,
        "warps": warps,
        "fluid_updates_per_s": alone,
        "coupled_updates_per_s": steps * cells / seconds_of(torch, coupled, 5),
    }


def control_steps(preset: str, environments: int) -> float:
    """Return control steps a second of the vector environment, observations included."""
    from envs.finray.lbm import FinRayLBMVectorEnv

    envs = FinRayLBMVectorEnv(
        environments, preset=preset, backend="triton", device="cuda", dtype="float32"
    )
    envs.reset(seed=0)
    actions = np.zeros((environments, 1), np.float32)
    envs.step(actions)
    start = time.perf_counter()
    for k in range(4):
        envs.step(actions + (-1) ** k)
    return 4 * environments / (time.perf_counter() - start)


def main() -> int:
    """Print a line for each setting, and JSON as the last line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--environments", type=int, default=512)
    parser.add_argument("--tune", action="store_true", help="try several block sizes")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("bench_gpu needs a CUDA device; torch sees none")
    bandwidth = copied_bytes(torch)
    sizes = [(256, 4)]
    if given.tune:
        sizes = [(128, 4), (256, 4), (256, 8), (512, 4), (512, 8), (1024, 8)]
    rows = []
    for block, warps in sizes:
        row = measure(torch, given.preset, given.environments, block, warps)
        for name in ("fluid", "coupled"):
            row[f"{name}_share"] = row[f"{name}_updates_per_s"] * BYTES / bandwidth
        rows.append(row)
        print(  # noqa: T201
            f"{given.preset} x {given.environments}, block {block}, {warps} warps: "
            f"fluid {row['fluid_updates_per_s'] / 1e9:.1f} G cell updates/s "
            f"({row['fluid_share']:.0%} of the limit), "
            f"with the ray {row['coupled_updates_per_s'] / 1e9:.1f} G/s "
            f"({row['coupled_share']:.0%})",
            flush=True,
        )
    record = {
        "device": torch.cuda.get_device_name(),
        "copy_bytes_per_s": bandwidth,
        "limit_updates_per_s": bandwidth / BYTES,
        "rows": rows,
        "control_steps_per_s": control_steps(given.preset, given.environments),
    }
    print(json.dumps(record))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
