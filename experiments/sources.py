"""Where each setting came from: texts, places in them, and trees of settings with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

Path = tuple[str | int, ...]
"""Keys and list indices from the root of a configuration to one setting."""

SHORTHANDS: dict[Path, str] = {
    ("env",): "id",
    ("agent",): "type",
    ("learner", "estimator"): "type",
    ("learner", "optimizer"): "type",
    ("learner", "parallelism"): "type",
    ("track", "wandb"): "mode",
}
"""Mappings that may be written as one string: the value of the named key."""

_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Source:
    """A text that settings are read from.

    Attributes:
        label: The file name as the user gave it, or the text of the override.
        lines: The text, line by line.
        kind: ``file`` or ``override``.
        number: 1-based position of an override on the command line; 0 for files.
    """

    label: str
    lines: tuple[str, ...]
    kind: Literal["file", "override"] = "file"
    number: int = 0

    @classmethod
    def of_text(cls, label: str, text: str) -> Source:
        """Return a file source with its text split at every YAML line break."""
        return cls(label, tuple(_LINE_BREAK.split(text)))


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line of a source; ``line`` and ``column`` count from 1."""

    source: Source
    line: int
    column: int
    length: int = 1


@dataclass(slots=True)
class Tree:
    """Plain settings with the place of each.

    Attributes:
        data: Mappings, lists and scalars as read.
        places: The place of each mapping key, and of each list item, by path. Settings that came
            from Python objects have none.
    """

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place | None:
        """Return the place of ``path``, or of the nearest setting around it that has one."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return self.places.get(())

    def forget(self, path: Path) -> None:
        """Drop the places of ``path`` and of everything below it."""
        depth = len(path)
        for known in [p for p in self.places if p[:depth] == path]:
            del self.places[known]


def spelled_out(path: Path, value: Any) -> Any:
    """Return the mapping that a string stands for at ``path``; anything else as it is."""
    if not isinstance(value, str):
        return value
    if path in SHORTHANDS:
        return {SHORTHANDS[path]: value}
    in_wrappers = len(path) == 3 and path[:2] == ("env", "wrappers")
    return {"type": value} if in_wrappers else value


def merge(base: Tree, top: Tree) -> Tree:
    """Return ``base`` with ``top`` laid over it; see :func:`merge_mapping`."""
    merged = Tree(base.data, dict(base.places))
    merged.data = merge_mapping(merged, base.data, top.data, ())
    merged.places.update(top.places)
    return merged


def merge_mapping(
    merged: Tree, base: dict[str, Any], top: dict[str, Any], path: Path
) -> dict[str, Any]:
    """Return ``base`` with ``top`` laid over it: mappings merge, everything else is replaced.

    A mapping of another ``type`` replaces too: the settings of one agent, optimizer or network mean
    nothing to another. Places of what is replaced are dropped from ``merged``.
    """
    if "type" in top and top["type"] != base.get("type", top["type"]):
        merged.forget(path)
        return top
    result = dict(base)
    for key, value in top.items():
        below = (*path, key)
        old = result.get(key)
        if isinstance(value, dict):
            old = spelled_out(below, old)
        if isinstance(value, dict) and isinstance(old, dict):
            result[key] = merge_mapping(merged, old, value, below)
        else:
            merged.forget(below)
            result[key] = value
    return result


def dotted(path: Path) -> str:
    """Return ``path`` as it is written in overrides and messages, for example ``a.b.0``."""
    return ".".join(str(part) for part in path)
