"""Checks of constructor arguments; each error names the environment, the argument and the value."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def check_number(
    env: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """Return ``value`` as a float within ``[low, high]``.

    Raises:
        ValueError: It is not a finite number or lies outside.
    """
    wanted = _wanted("a number", low, high)
    if not _is_real(value):
        raise ValueError(f"{env}: {name} must be {wanted}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{env}: {name} must be {wanted}, got {value}")
    return float(value)


def check_integer(env: str, name: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return ``value`` as an int within ``[low, high]``.

    Raises:
        ValueError: It is not a whole number or lies outside.
    """
    wanted = _wanted("an integer", low, high)
    if not _is_real(value) or int(value) != value:
        raise ValueError(f"{env}: {name} must be {wanted}, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{env}: {name} must be {wanted}, got {value}")
    return int(value)


def check_choice(env: str, name: str, value: Any, choices: Collection[str]) -> str:
    """Return ``value``, one of ``choices``.

    Raises:
        ValueError: It is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{env}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return str(value)


def check_names(env: str, target: Any, given: Mapping[str, Any]) -> None:
    """Refuse keyword arguments that ``target`` does not take.

    Raises:
        ValueError: One is unknown; the nearest known name is in the message.
    """
    known = [
        name
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"{env}: unknown argument {name}{hint}")


def _is_real(value: Any) -> bool:
    """Return whether ``value`` is a finite number and no flag, text or array."""
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _wanted(kind: str, low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return kind
    if high == math.inf:
        return f"{kind} >= {low}" if kind != "a number" else f">= {low}"
    if low == -math.inf:
        return f"<= {high}"
    return f"{kind} in [{low}, {high}]"
