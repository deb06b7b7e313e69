"""Overrides from the command line: ``a.b=value``, ``a.b=`` (null) and ``a.b~`` (remove).

A mapping given as a value is merged into the one that is there; ``a~ a={...}`` replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from experiments.errors import ConfigProblems, Problem, nearest
from experiments.sources import (
    Path,
    Place,
    Source,
    Tree,
    dotted,
    merge_mapping,
    spelled_out,
)
from experiments.yaml_reader import read_value

_KEY = r"[A-Za-z_][\w-]*(?:\.[\w-]+)*"
_OVERRIDE = re.compile(rf"(?P<key>{_KEY})(?:(?P<remove>~)|=(?P<value>.*))", re.DOTALL)


def is_override(text: str) -> bool:
    """Return whether a command line argument is an override rather than a file name."""
    return _OVERRIDE.fullmatch(text) is not None


def apply_overrides(tree: Tree, overrides: Sequence[str]) -> tuple[Tree, list[Problem]]:
    """Return ``tree`` with each override applied in order, and what could not be applied.

    ``tree`` itself is not changed. Mappings on the way are created; an index reaches into a list
    (``env.wrappers.0.size=84``).
    """
    result = Tree(_copy(tree.data), dict(tree.places))
    problems: list[Problem] = []
    for number, text in enumerate(overrides, 1):
        try:
            _apply(result, Source(text, (text,), "override", number))
        except ConfigProblems as error:
            problems.extend(error.problems)
    return result, problems


def _apply(tree: Tree, source: Source) -> None:
    found = _OVERRIDE.fullmatch(source.label)
    if found is None:
        place = Place(source, 1, 1, max(1, len(source.label)))
        _fail((), "must look like key=value, key= (null) or key~ (remove)", place)
    path: Path = tuple(found["key"].split("."))
    starts = [0]
    for part in path:
        starts.append(starts[-1] + len(str(part)) + 1)
    places = [
        Place(source, 1, start + 1, len(str(part)))
        for start, part in zip(starts, path, strict=False)
    ]
    holder, path = _walk(tree, path, places, create=not found["remove"])
    if found["remove"]:
        _remove(tree, holder, path, places[-1])
        return
    column = found.start("value")
    value, inside = read_value(found["value"], source, column, path)
    old = spelled_out(path, _held(holder, path[-1]))
    if isinstance(value, dict) and isinstance(old, dict):
        value = merge_mapping(tree, old, value, path)
    else:
        tree.forget(path)
    _put(holder, path[-1], value)
    for end in range(1, len(path) + 1):
        if end == len(path) or path[:end] not in tree.places:
            tree.places[path[:end]] = places[end - 1]
    tree.places.update(inside)


def _walk(
    tree: Tree, path: Path, places: list[Place], *, create: bool
) -> tuple[dict[str, Any] | list[Any], Path]:
    """Return the container of the last part, and the path with list indices as integers."""
    holder: Any = tree.data
    real: list[str | int] = []
    for part, place in zip(path, places, strict=True):
        real.append(_index(holder, part, tuple(real), place) if isinstance(holder, list) else part)
        if len(real) == len(path):
            break
        below = holder[real[-1]] if isinstance(holder, list) else holder.get(part)
        if isinstance(below, str):
            below = spelled_out(tuple(real), below)
            _put(holder, real[-1], below)
        elif below is None and create:
            below = {}
            _put(holder, real[-1], below)
        if not isinstance(below, dict | list):
            got = "nothing is set there" if below is None else f"it holds {below!r:.40}"
            _fail(tuple(real), f"cannot be reached into: {got}", place)
        holder = below
    return holder, tuple(real)


def _index(holder: list[Any], part: str | int, path: Path, place: Place) -> int:
    text = str(part)
    if not text.isdecimal():
        _fail(path, f"is a list: wanted an index, got '{text}'", place)
    if int(text) >= len(holder):
        _fail(path, f"has {len(holder)} items, so no index {text}", place)
    return int(text)


def _held(holder: dict[str, Any] | list[Any], key: str | int) -> Any:
    return holder.get(str(key)) if isinstance(holder, dict) else holder[int(key)]


def _put(holder: dict[str, Any] | list[Any], key: str | int, value: Any) -> None:
    holder[key] = value  # type: ignore[index, call-overload]


def _remove(tree: Tree, holder: dict[str, Any] | list[Any], path: Path, place: Place) -> None:
    key = path[-1]
    if isinstance(holder, dict) and key not in holder:
        _fail(path, f"cannot be removed: not set{nearest(str(key), holder)}", place)
    del holder[key]  # type: ignore[arg-type]
    tree.forget(path)


def _fail(path: Path, message: str, place: Place) -> NoReturn:
    raise ConfigProblems(dotted(path), [Problem(path, message, place)])


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
