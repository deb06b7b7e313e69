"""Operations on lanes: compiled they do what they do on arrays."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from rlcore.ops.lanes_numba import (
    instructions,
    lanes,
    larger,
    largest,
    load,
    prefetch,
    prefetch_early,
    spread,
    store,
    total,
    totals,
)
from rlcore.ops.numba_jit import compiled


def _kernel(x: Any, y: Any, out: Any, sums: Any) -> None:
    step = lanes(x)
    for at in range(0, len(x) - step + 1, step):
        prefetch(x, at + step)
        prefetch_early(y, at + 2 * step)
        a, b = load(x, at), load(y, at)
        store(out, at, larger(a * b - a, spread(x, 0.5) + b))
        sums[0] += total(a)
        sums[1] = max(sums[1], largest(b))
        for k, one in enumerate(totals(a, b, a + b, a - b)):
            sums[2 + k] += one


# Compiling rebinds the names in this module.
plain = FunctionType(_kernel.__code__, dict(globals()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_operations_equal_those_on_arrays(dtype) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((2, 67)).astype(dtype)
    results = []
    for kernel in (compiled(_kernel, intrinsics=instructions()), plain):
        out, sums = np.zeros_like(x), np.full(6, -1.0)
        kernel(x, y, out, sums)
        results.append((out, sums))
    eps = np.finfo(dtype).eps
    assert (results[0][0] != 0).sum() == 64
    assert abs(results[0][0] - results[1][0]).max() <= 4 * eps
    assert abs(results[0][1] - results[1][1]).max() <= 100 * eps
