"""Matrix products of few rows as one compiled loop (optional package numba).

A library's product of matrices is made for many rows and takes longer for few.

Legend: ``N`` rows, ``D`` input width, ``F`` output width.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rlcore.ops.lanes_numba import LINE, instructions, lanes, load, prefetch, spread, totals
from rlcore.ops.numba_jit import compiled

AHEAD = 8
"""How many outputs ahead their weights are asked for."""


def _linear(x: Any, weight: Any, out: Any, add: Any) -> None:
    """``out [N, F] = x [N, D] weight [F, D]^T``, or ``out +=`` that.

    Tiles of four rows and four outputs: their sixteen sums stay in registers. Meanwhile the weights
    of outputs to come, which lie in a slower memory, are on their way.
    """
    rows, width = x.shape
    columns, fours = len(weight), rows // 4 * 4
    x_flat, w_flat, step = x.reshape(-1), weight.reshape(-1), lanes(x)
    whole = width // step * step
    tiles = rows // 4 + rows % 4
    share = -(-4 * width // max(tiles, 1))
    for f in range(0, columns // 4 * 4, 4):
        w0 = f * width
        w1, w2, w3 = w0 + width, w0 + 2 * width, w0 + 3 * width
        for n in range(0, fours, 4):
            _fetch(w_flat, w0 + AHEAD * width + n // 4 * share, share)
            x0 = n * width
            x1, x2, x3 = x0 + width, x0 + 2 * width, x0 + 3 * width
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = spread(x_flat, 0.0)
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = spread(x_flat, 0.0)
            for i in range(0, whole, step):
                p, q = load(w_flat, w0 + i), load(w_flat, w1 + i)
                r, s = load(w_flat, w2 + i), load(w_flat, w3 + i)
                y = load(x_flat, x0 + i)
                a0, a1, a2, a3 = a0 + y * p, a1 + y * q, a2 + y * r, a3 + y * s
                y = load(x_flat, x1 + i)
                b0, b1, b2, b3 = b0 + y * p, b1 + y * q, b2 + y * r, b3 + y * s
                y = load(x_flat, x2 + i)
                c0, c1, c2, c3 = c0 + y * p, c1 + y * q, c2 + y * r, c3 + y * s
                y = load(x_flat, x3 + i)
                d0, d1, d2, d3 = d0 + y * p, d1 + y * q, d2 + y * r, d3 + y * s
            _put(out[n], f, totals(a0, a1, a2, a3), add)
            _put(out[n + 1], f, totals(b0, b1, b2, b3), add)
            _put(out[n + 2], f, totals(c0, c1, c2, c3), add)
            _put(out[n + 3], f, totals(d0, d1, d2, d3), add)
        for n in range(fours, rows):
            _fetch(w_flat, w0 + AHEAD * width + (fours // 4 + n - fours) * share, share)
            x0 = n * width
            a0 = a1 = a2 = a3 = spread(x_flat, 0.0)
            for i in range(0, whole, step):
                y = load(x_flat, x0 + i)
                a0, a1 = a0 + y * load(w_flat, w0 + i), a1 + y * load(w_flat, w1 + i)
                a2, a3 = a2 + y * load(w_flat, w2 + i), a3 + y * load(w_flat, w3 + i)
            _put(out[n], f, totals(a0, a1, a2, a3), add)
    for f in range(columns // 4 * 4, columns):
        for n in range(rows):
            product = x.dtype.type(0)
            for i in range(width):
                product += x[n, i] * weight[f, i]
            out[n, f] = out[n, f] + product if add else product
    if whole < width:
        _add_rest(x[:, whole:], weight[: columns // 4 * 4, whole:], out)


def _add_rest(x: Any, weight: Any, out: Any) -> None:
    """Add the products of the last inputs, which fill no register."""
    for n in range(len(x)):
        for f in range(len(weight)):
            for i in range(x.shape[1]):
                out[n, f] += x[n, i] * weight[f, i]


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
    return compiled(_linear, _add_rest, _fetch, _put, intrinsics=instructions())
