"""Coefficients that change over a run."""

from __future__ import annotations


def linear(start: float, end: float | None, progress: float) -> float:
    """Return the value at ``progress`` in [0, 1] on the way from ``start`` to ``end``.

    ``end=None`` keeps ``start``.
    """
    return start if end is None else start + (end - start) * float(progress)
