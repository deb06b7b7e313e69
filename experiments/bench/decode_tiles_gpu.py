"""Which tile of the few-row linear kernels is fastest; run as a module, on a GPU.

Times every tiling over the shapes of a 40 M transformer's step, inside a CUDA graph of enough
copies of the weights that no cache holds them, against the unfused operations with cuBLAS. Prints
JSON lines; writes them to ``$OUT/decode_tiles.json``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rlcore.ops.fused_linear_triton import Tiling, fused_linear_triton
from rlcore.ops.norm import rms_norm
from rlcore.ops.swiglu import silu_mul

BYTES_OF_WEIGHTS = 160e6
DIM, HIDDEN, VOCAB = 512, 1408, 4096
SHAPES = {
    "qkv": (DIM, 3 * DIM, "norm"),
    "out": (DIM, DIM, "add"),
    "gate_up": (DIM, 2 * HIDDEN, "gated"),
    "down": (HIDDEN, DIM, "add"),
    "head": (DIM, VOCAB, "norm"),
}
_FEW = ((1, 2, 512, 4, 3), (1, 4, 512, 2, 3), (1, 4, 512, 4, 3), (1, 8, 512, 4, 3),
        (1, 4, 2048, 4, 3), (1, 8, 2048, 8, 3), (16, 16, 256, 4, 3))  # fmt: skip
_SOME = ((16, 16, 256, 4, 3), (16, 32, 128, 4, 4), (32, 16, 256, 4, 3), (32, 32, 64, 4, 4),
         (32, 32, 128, 4, 3), (64, 16, 128, 4, 4), (64, 32, 64, 4, 4),
         (64, 32, 128, 8, 3))  # fmt: skip
_MANY = ((64, 32, 64, 4, 4), (64, 64, 64, 4, 4), (64, 128, 64, 4, 4), (128, 64, 64, 4, 4),
         (128, 128, 64, 8, 3))  # fmt: skip
TILES = {1: _FEW, 64: _SOME, 512: _MANY}


def microseconds(call: Callable[[int], Any], copies: int, repeats: int = 7) -> float:
    """Return the median time of a call inside a graph of ``copies`` calls, in microseconds."""
    call(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(copies):
            call(index)
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / copies)
    return sorted(times)[repeats // 2]


def calls(shape: str, rows: int) -> tuple[Callable[..., Tensor], Callable[[int], Tensor], int]:
    """Return our call (index and options), the unfused call, and the number of weight copies."""
    inputs, outputs, kind = SHAPES[shape]
    copies = max(12, int(BYTES_OF_WEIGHTS / (2 * inputs * outputs)))
    options = {"device": "cuda", "dtype": torch.bfloat16}
    weights = torch.randn(copies, outputs, inputs, **options) / inputs**0.5
    x, norm = torch.randn(rows, inputs, **options), torch.ones(inputs, **options)
    residual = torch.randn(rows, outputs, **options)

    def ours(index: int, **more: Any) -> Tensor:
        given = {"residual": residual} if kind == "add" else {"norm": (norm, 1e-6)}
        return fused_linear_triton(x, weights[index], gated=kind == "gated", **given, **more)

    def unfused(index: int) -> Tensor:
        if kind == "add":
            return residual + F.linear(x, weights[index])
        out = F.linear(rms_norm(x, norm, 1e-6), weights[index])
        return silu_mul(out) if kind == "gated" else out

    return ours, unfused, copies


def sweep(shape: str, rows: int) -> list[dict[str, Any]]:
    """Return one record a tiling, early and not, and that of the unfused operations."""
    ours, unfused, copies = calls(shape, rows)
    place = {"shape": shape, "rows": rows}
    found = [place | {"what": "unfused", "us": microseconds(unfused, copies)}]
    wanted = unfused(0)
    for tile in (Tiling(*sizes) for sizes in TILES[rows]):
        for early in (True, False) if tile in (TILES[rows][2], TILES[rows][3]) else (True,):
            try:
                error = float((ours(0, tile=tile, early=early).float() - wanted.float()).norm())
                us = microseconds(lambda i, t=tile, e=early: ours(i, tile=t, early=e), copies)
            except Exception as problem:  # one tiling may need too much shared memory
                sys.stderr.write(f"{tile} {early} {problem!r:.300}\n")
                continue
            error /= float(wanted.float().norm())
            found.append(
                place
                | {"what": "ours", "tile": list(tile), "early": early, "us": us, "error": error}
            )
    return found


def main() -> None:
    """Sweep all shapes."""
    records: list[dict[str, Any]] = []
    for rows in TILES:
        for shape in SHAPES:
            try:
                found = sweep(shape, rows)
            except Exception:
                traceback.print_exc()
                continue
            records += found
            best = sorted(found[1:], key=lambda r: r["us"])[:4]
            for record in [found[0], *best]:
                sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
    Path(os.environ.get("OUT", "."), "decode_tiles.json").write_text(json.dumps(records))


if __name__ == "__main__":
    main()
