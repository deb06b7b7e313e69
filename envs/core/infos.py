"""Infos of many environments as Gymnasium's vector form has them: arrays with ``_name`` masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def put(
    infos: dict[str, Any],
    info: Mapping[str, np.ndarray],
    n: int,
    rows: np.ndarray | None = None,
    fresh: Sequence[str] = (),
) -> None:
    """Write ``info`` into ``infos`` and mark its rows as real.

    Args:
        infos: Arrays ``[n, ...]`` by name, with a bool mask ``[n]`` under ``_name``.
        info: Arrays by name, one entry for each of ``rows``; copied.
        n: How many environments there are.
        rows: Indices of the environments that it belongs to; None for all.
        fresh: Names of arrays that nobody else has, which are taken as they are.
    """
    for name, values in info.items():
        if rows is None:
            infos[name] = values if name in fresh else values.copy()
            infos[f"_{name}"] = np.ones(n, bool)
            continue
        if name not in infos:
            infos[name] = _empty(values, n)
            infos[f"_{name}"] = np.zeros(n, bool)
        infos[name][rows] = values
        infos[f"_{name}"][rows] = True


def put_but(
    infos: dict[str, Any],
    info: Mapping[str, np.ndarray],
    n: int,
    rows: np.ndarray,
    fresh: Sequence[str] = (),
) -> None:
    """Write ``info``, one entry for each environment, into ``infos`` but for ``rows``."""
    real = np.ones(n, bool)
    real[rows] = False
    for name, values in info.items():
        infos[name] = values if name in fresh else values.copy()
        infos[f"_{name}"] = real.copy()
        infos[name][rows] = _blank(values)


def move(infos: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
    """Take the values of the rows ``ended`` (bool ``[n]``) out of ``infos`` and return them."""
    taken: dict[str, Any] = {}
    n, rows = len(ended), np.flatnonzero(ended)
    for name in [name for name in infos if not name.startswith("_")]:
        put(taken, {name: infos[name][rows]}, n, rows)
        infos[name][rows] = _blank(infos[name])
        infos[f"_{name}"][rows] = False
    return taken


def one(info: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return row 0 of each array: numbers as Python numbers, arrays as copies."""
    return {name: _plain(values[0]) for name, values in info.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.copy() if isinstance(value, np.ndarray) else value


def _empty(values: np.ndarray, n: int) -> np.ndarray:
    shape = n, *values.shape[1:]
    return np.full(shape, None) if values.dtype == object else np.zeros(shape, values.dtype)


def _blank(values: np.ndarray) -> Any:
    return None if values.dtype == object else np.zeros((), values.dtype)
