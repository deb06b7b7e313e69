"""YAML 1.2 core scalars, and the counts and durations written in experiment files.

YAML 1.1 reads ``7e-4`` as text, ``on`` as true and ``12:30`` as 750; the 1.2 core schema reads
them as 0.0007, ``"on"`` and ``"12:30"``, which is what people expect. One addition: digits may be
grouped with underscores (``40_000_000``).
"""

from __future__ import annotations

import itertools
import math
import re

_DIGITS = r"[0-9](?:_?[0-9])*"
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(rf"[-+]?{_DIGITS}")
_BASED = {"0o": (re.compile(r"0o[0-7]+"), 8), "0x": (re.compile(r"0x[0-9a-fA-F]+"), 16)}
_FLOAT = re.compile(rf"[-+]?(?:\.{_DIGITS}|{_DIGITS}(?:\.(?:{_DIGITS})?)?)(?:[eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_MAX_DIGITS = 100

_COUNT = re.compile(rf"(?P<number>{_DIGITS}(?:\.{_DIGITS})?)(?P<unit>[kMG])")
_COUNT_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|min|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|min|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def plain_scalar(text: str) -> bool | int | float | str | None:
    """Return the value of an unquoted YAML scalar.

    Raises:
        ValueError: The number has over 100 digits or is too large for a float.
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    for prefix, (pattern, base) in _BASED.items():
        if text.startswith(prefix) and pattern.fullmatch(text):
            return int(_checked(text), base)
    if _INT.fullmatch(text):
        return int(_checked(text))
    if _FLOAT.fullmatch(text):
        value = float(_checked(text))
        if math.isinf(value):
            raise ValueError("number is too large; write .inf for infinity")
        return value
    if found := _INF.fullmatch(text):
        return -math.inf if found[1] == "-" else math.inf
    return math.nan if text in _NAN else None


def _checked(text: str) -> str:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"number has {len(text)} characters, wanted at most {_MAX_DIGITS}")
    return text


def plain_scalar_or_none(text: str) -> bool | int | float | str | None:
    """Return :func:`plain_scalar`, or ``None`` where the number is out of range."""
    try:
        return plain_scalar(text)
    except ValueError:
        return None


def count(text: str) -> int | None:
    """Return a count written with a unit (``5k``, ``40M``, ``1.5G``), or ``None``."""
    found = _COUNT.fullmatch(text)
    if found is None or len(text) > _MAX_DIGITS:
        return None
    value = float(found["number"].replace("_", "")) * _COUNT_UNITS[found["unit"]]
    return int(value) if value.is_integer() else None


def duration(text: str) -> float | None:
    """Return seconds for ``60s``, ``10min``, ``8h``, ``1h30m``; ``None`` for anything else.

    Units are ``ms``, ``s``, ``min`` or ``m``, ``h`` and ``d``, from large to small.
    """
    if len(text) > _MAX_DIGITS or not _DURATION.fullmatch(text):
        return None
    parts = [(float(number), _SECONDS[unit]) for number, unit in _DURATION_PART.findall(text)]
    units = [unit for _, unit in parts]
    if any(small >= large for large, small in itertools.pairwise(units)):
        return None
    return sum(number * unit for number, unit in parts)
