"""The exponential function as arithmetic that a compiled loop can take several at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LOG2_E = np.float32(math.log2(math.e))
LN_2 = math.log(2.0)
LARGEST, SMALLEST = np.float32(88.72), np.float32(-86.6)
"""Beyond them the result is infinity, or 0: it would have fewer bits than others."""

C2 = np.float32(5.0000001201e-1)
C3 = np.float32(1.6666665459e-1)
C4 = np.float32(4.1665795894e-2)
C5 = np.float32(8.3334519073e-3)
C6 = np.float32(1.3981999507e-3)
C7 = np.float32(1.9875691500e-4)
"""Coefficients of the powers in exp(r), |r| <= ln(2) / 2 (Moshier, Cephes library)."""


def exponentials(x: Any) -> None:
    """Replace each number of a row by its exponential.

    In float32 ``exp(x) = 2^n exp(r)`` with a polynomial in ``r = x - n ln 2``, right to 1.5e-7;
    calls of the library's function cannot be vectorised.
    """
    if x.itemsize == 4:
        for i in range(len(x)):
            given = np.float32(x[i])
            inside = min(max(given, SMALLEST), LARGEST)
            n = np.floor(inside * LOG2_E + np.float32(0.5))
            # In float64, where a reordering of the terms does no harm.
            r = np.float32(np.float64(inside) - np.float64(n) * LN_2)
            series = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
            series = series * r * r + r + np.float32(1.0)
            # The bits of 2^(n - 1): 2^128 has none.
            half = np.int32((np.int32(n) + np.int32(126)) << np.int32(23)).view(np.float32)
            power = series * half * np.float32(2.0)
            power = power if given <= LARGEST else np.float32(math.inf)
            power = power if given >= SMALLEST else np.float32(0.0)
            x[i] = power if given == given else given  # a NaN stays one
    else:
        for i in range(len(x)):
            x[i] = math.exp(x[i])
