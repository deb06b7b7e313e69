"""Plain settings to dataclasses: every problem is collected, none stops the rest."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

from experiments.errors import Problem, nearest
from experiments.registry import PLACES, find, type_name
from experiments.scalars import count, duration
from experiments.sources import Path, Tree
from rlcore.errors import ConfigError

DURATIONS = {("stop", "wall_time"), ("checkpoint", "every"), ("track", "every")}
SHORTHANDS = {("track", "wandb"): "mode"}
"""Mappings that may be written as one string: the value of the named key."""


def duration_wanted(path: Path) -> bool:
    """Return whether a setting is a time: one of the table, or a name that ends in ``_s``."""
    return path in DURATIONS or (bool(path) and str(path[-1]).endswith("_s"))


def yaml_name(field: dataclasses.Field[Any]) -> str:
    """Return how a dataclass field is written in files."""
    return field.name.rstrip("_")


@functools.cache
def hints(cls: type[Any]) -> dict[str, Any]:
    """Return the resolved annotations of a dataclass."""
    return typing.get_type_hints(cls)


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


class Binder:
    """Makes dataclasses from one tree of settings.

    Attributes:
        problems: What was wrong, in the order found.
    """

    def __init__(self, tree: Tree, known: dict[str, list[str]] | None = None) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self._known = known or {}

    def problem(self, path: Path, message: str, see: str | None = None) -> None:
        """Note a problem at ``path``."""
        self.problems.append(Problem(path, message, self.tree.place(path), see))

    def component(self, kind: str, data: Any, path: Path) -> Any:
        """Return the component at ``path``: its ``type`` picks the dataclass."""
        if isinstance(data, str):
            data = {"type": data}
        if not isinstance(data, dict):
            return self.problem(path, f"must be a name or a mapping with 'type', got {data!r:.60}")
        settings = dict(data)
        name = settings.pop("type", None)
        if not isinstance(name, str):
            return self.problem(path, "needs a 'type'", kind)
        try:
            cls = find(kind, name)
        except ConfigError as error:
            place = (*path, "type") if isinstance(data, dict) and "type" in data else path
            return self.problem(place, str(error))
        except ImportError as error:
            return self.problem(path, f"cannot be imported: {error}")
        return self.bind(cls, settings, path, see=".".join([*map(str, path), name]))

    def bind(self, cls: type[Any], data: Any, path: Path, see: str | None = None) -> Any:
        """Return an instance of ``cls`` from the mapping ``data``, or ``None`` with problems."""
        if isinstance(data, str) and path in SHORTHANDS:
            data = {SHORTHANDS[path]: data}
        if data is None:
            data = {}
        if not isinstance(data, dict):
            return self.problem(path, f"must be a mapping, got {data!r:.60}")
        see = see or (".".join(map(str, path)) or None)
        before = len(self.problems)
        fields = {yaml_name(f): f for f in dataclasses.fields(cls) if f.init}
        for key in data:
            if key not in fields:
                self._unknown(key, fields, path, see)
        values = {}
        for name, field in fields.items():
            if name in data:
                values[field.name] = self._value(cls, field, data[name], (*path, name), see)
            elif _required(field):
                self.problem((*path, name), "is required", see)
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except ConfigError as error:
            return self._refused(str(error), fields, path, see)

    def _value(self, cls: type[Any], field: Any, value: Any, path: Path, see: str | None) -> Any:
        if path in PLACES:
            return self.component(PLACES[path], value, path)
        annotation = hints(cls)[field.name]
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            return self.bind(annotation, value, path, None if len(path) == 1 else see)
        value = _numbers(annotation, value, path)
        if annotation is bool and not isinstance(value, bool):
            return self.problem(path, f"must be true or false, got {value!r:.60}", see)
        return self._checked(annotation, value, path, see)

    def _checked(self, annotation: Any, value: Any, path: Path, see: str | None) -> Any:
        from pydantic import ValidationError

        try:
            return _adapter(annotation).validate_python(value)
        except ValidationError as error:
            for detail in error.errors()[:1]:
                inner = tuple(p for p in detail["loc"] if isinstance(p, int))
                self.problem((*path, *inner), _words(annotation, detail, value), see)
            return None

    def _unknown(self, key: Any, fields: dict[str, Any], path: Path, see: str | None) -> None:
        if key == "type":
            hint = "; this section has no types"
        else:
            close = nearest(str(key), fields)
            elsewhere = self._known.get(str(key), [])
            hint = f"; did you mean '{elsewhere[0]}'?" if elsewhere and not close else close
        self.problem((*path, key), f"unknown key{hint}", see)

    def _refused(self, message: str, fields: dict[str, Any], path: Path, see: str | None) -> None:
        """Note what a dataclass refused, at the field its message begins with."""
        first, _, rest = message.partition(" ")
        if first in fields:
            self.problem((*path, first), rest, see)
        else:
            self.problem(path, message, see)


def _required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _numbers(annotation: Any, value: Any, path: Path) -> Any:
    """Read ``8h`` where a duration is wanted and ``4e7`` or ``40M`` where a count is."""
    if isinstance(value, str):
        if duration_wanted(path):
            seconds = duration(value)
            return value if seconds is None else seconds
        if annotation in (int, int | None):
            number = count(value)
            return value if number is None else number
    return value


def _words(annotation: Any, detail: Any, value: Any) -> str:
    """Return a validation error in one short sentence."""
    shown = f"{detail.get('input', value)!r:.60}"
    kind = detail["type"]
    if kind == "literal_error":
        return f"must be one of {detail['ctx']['expected']}, got {shown}"
    wants = {
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "string_type": "text",
        "dict_type": "a mapping",
        "tuple_type": "a list",
        "list_type": "a list",
    }
    want = wants.get(kind)
    return f"must be {want}, got {shown}" if want else f"{detail['msg']}, got {shown}"


def plain(value: Any, path: Path = ()) -> Any:
    """Return a bound configuration as plain settings that bind to it again."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings: dict[str, Any] = {}
        if path in PLACES:
            settings["type"] = type_name(PLACES[path], value)
        for field in dataclasses.fields(value):
            name = yaml_name(field)
            settings[name] = plain(getattr(value, field.name), (*path, name))
        return settings
    if isinstance(value, dict):
        return {key: plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, i)) for i, item in enumerate(value)]
    return value
