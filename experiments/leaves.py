"""Single values: from what a file holds to what a setting wants, or the reason why not."""

from __future__ import annotations

import functools
import math
import typing
from typing import Any

from experiments.errors import nearest
from experiments.scalars import count, duration
from experiments.sources import Path
from rlcore.errors import ConfigError

DURATIONS = {("stop", "wall_time"), ("checkpoint", "every"), ("track", "every")}

_WANTS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "dict": "a mapping",
    "tuple": "a list",
    "list": "a list",
}


class BadValue(ConfigError):
    """A value does not fit its setting.

    Attributes:
        inside: Index in the value of the part that does not fit.
        message: What is wanted and what was found.
    """

    def __init__(self, message: str, inside: Path = ()) -> None:
        super().__init__(message)
        self.message = message
        self.inside = inside


def shown(value: Any) -> str:
    """Return a value as it looks in a file, cut to 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def duration_wanted(path: Path) -> bool:
    """Return whether a setting is a time: one of the table, or a name that ends in ``_s``."""
    return path in DURATIONS or (bool(path) and str(path[-1]).endswith("_s"))


def read_leaf(annotation: Any, value: Any, path: Path) -> Any:
    """Return ``value`` as the type ``annotation``.

    Raises:
        BadValue: It does not fit.
    """
    from pydantic import ValidationError

    value = _with_unit(annotation, value, path)
    if not (isinstance(value, str) and duration_wanted(path)):  # has a message of its own
        _refuse_look_alikes(annotation, value)
    if annotation is bool and not isinstance(value, bool):
        raise BadValue(f"must be true or false, got {shown(value)}")
    if isinstance(value, float) and math.isnan(value):
        raise BadValue("must be a number, got nan")
    if isinstance(value, str) and "${" in value:
        raise BadValue(f"'${{...}}' is not replaced in experiment files, got {shown(value)}")
    try:
        return _adapter(annotation).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        whole = detail["type"] in ("missing", "too_long", "too_short")
        inside = () if whole else tuple(part for part in detail["loc"] if isinstance(part, int))
        raise BadValue(_sentence(annotation, detail, value, path), inside) from None


def _refuse_look_alikes(annotation: Any, value: Any, inside: Path = ()) -> None:
    """Refuse ``true`` and ``"16"`` where a number is wanted: validation would take them as one."""
    if annotation in (int, float, int | None, float | None):
        if isinstance(value, bool | str):
            raise BadValue(f"must be {_wanted(annotation)}, got {shown(value)}", inside)
        return
    items = _item_types(annotation)
    if isinstance(value, list | tuple) and items:
        for index, item in enumerate(value):
            _refuse_look_alikes(items[min(index, len(items) - 1)], item, (*inside, index))


def _item_types(annotation: Any) -> list[Any]:
    """Return the types of the items where ``annotation`` is, or may be, a list or tuple."""
    for part in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(part) in (tuple, list):
            return [item for item in typing.get_args(part) if item is not Ellipsis]
    return []


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _with_unit(annotation: Any, value: Any, path: Path) -> Any:
    """Read ``8h`` where a duration is wanted and ``4e7`` or ``40M`` where a count is."""
    if not isinstance(value, str):
        return value
    if duration_wanted(path):
        seconds = duration(value)
        return value if seconds is None else seconds
    if annotation in (int, int | None):
        number = count(value)
        return value if number is None else number
    return value


def _wanted(annotation: Any) -> str:
    return "a whole number" if annotation in (int, int | None) else "a number"


def _sentence(annotation: Any, detail: Any, value: Any, path: Path) -> str:
    """Return a validation error in one short sentence."""
    got = detail.get("input", value)
    kind = str(detail["type"])
    if kind == "literal_error":
        choices = [choice for choice in _choices(annotation) if choice is not None]
        hint = nearest(got, choices) if isinstance(got, str) else ""
        names = ", ".join(f"'{choice}'" for choice in choices)
        return f"must be one of {names}, got {shown(got)}{hint}"
    if kind in ("missing", "too_long", "too_short"):
        return f"must be a list of {len(typing.get_args(annotation))}, got {shown(value)}"
    if kind == "int_from_float":
        return f"must be a whole number, got {shown(got)}"
    if kind.startswith("float") and duration_wanted(path):
        return f"must be a time such as 90, 60s, 10min or 8h, got {shown(got)}"
    want = _WANTS.get(kind) or _WANTS.get(kind.partition("_")[0])
    if want is None:
        return f"{detail['msg']}, got {shown(got)}"
    quotes = "; put it in quotes" if want == "text" and isinstance(got, int | float) else ""
    return f"must be {want}, got {shown(got)}{quotes}"


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    found: tuple[Any, ...] = ()
    for part in typing.get_args(annotation):
        found += _choices(part)
    return found
