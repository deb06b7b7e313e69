"""Matrix products of few rows as one compiled loop (optional package numba).

A library's product of matrices is made for many rows and takes longer for few.

Legend: ``N`` rows, ``D`` input width, ``F`` output width.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rlcore.ops.numba_jit import compiled
from rlcore.ops.prefetch_numba import LINE, prefetch, prefetch_intrinsic

AHEAD = 8
"""How many outputs ahead their weights are asked for."""


def _linear(x: Any, weight: Any, out: Any, add: Any) -> None:
    """``out [N, F] = x [N, D] weight [F, D]^T``, or ``out +=`` that.

    Tiles of four rows and four outputs: their sixteen sums stay in registers. Meanwhile the weights
    of outputs to come, which lie in a slower memory, are on their way.
    """
    rows, width = x.shape
    columns = len(weight)
    fours = rows // 4 * 4
    zero, flat = x.dtype.type(0), weight.reshape(-1)
    tiles = rows // 4 + rows % 4
    share = -(-4 * width // max(tiles, 1))
    for f in range(0, columns // 4 * 4, 4):
        w0, w1, w2, w3 = weight[f], weight[f + 1], weight[f + 2], weight[f + 3]
        for n in range(0, fours, 4):
            _fetch(flat, (f + AHEAD) * width + n // 4 * share, share)
            x0, x1, x2, x3 = x[n], x[n + 1], x[n + 2], x[n + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
            for i in range(width):
                p, q, r, s = w0[i], w1[i], w2[i], w3[i]
                a0 += x0[i] * p
                a1 += x0[i] * q
                a2 += x0[i] * r
                a3 += x0[i] * s
                b0 += x1[i] * p
                b1 += x1[i] * q
                b2 += x1[i] * r
                b3 += x1[i] * s
                c0 += x2[i] * p
                c1 += x2[i] * q
                c2 += x2[i] * r
                c3 += x2[i] * s
                d0 += x3[i] * p
                d1 += x3[i] * q
                d2 += x3[i] * r
                d3 += x3[i] * s
            _put(out[n], f, (a0, a1, a2, a3), add)
            _put(out[n + 1], f, (b0, b1, b2, b3), add)
            _put(out[n + 2], f, (c0, c1, c2, c3), add)
            _put(out[n + 3], f, (d0, d1, d2, d3), add)
        for n in range(fours, rows):
            _fetch(flat, (f + AHEAD) * width + (fours // 4 + n - fours) * share, share)
            row = x[n]
            a0 = a1 = a2 = a3 = zero
            for i in range(width):
                a0 += row[i] * w0[i]
                a1 += row[i] * w1[i]
                a2 += row[i] * w2[i]
                a3 += row[i] * w3[i]
            _put(out[n], f, (a0, a1, a2, a3), add)
    for f in range(columns // 4 * 4, columns):
        for n in range(rows):
            total = zero
            for i in range(width):
                total += x[n, i] * weight[f, i]
            out[n, f] = out[n, f] + total if add else total


def _fetch(flat: Any, first: Any, count: Any) -> None:
    for at in range(first, min(first + count, len(flat)), LINE // flat.itemsize):
        prefetch(flat, at)


def _put(row: Any, at: Any, sums: Any, add: Any) -> None:
    for k in range(4):
        row[at + k] = row[at + k] + sums[k] if add else sums[k]


@cache
def linear_kernel() -> Any:
    """Return the compiled ``(x, weight, out, add)``: ``out = x weight^T``, or ``out +=`` that.

    ``x [N, D]``, ``weight [F, D]``, ``out [N, F]`` are contiguous arrays of one dtype.
    """
    return compiled(_linear, _fetch, _put, intrinsics=(prefetch_intrinsic,))
