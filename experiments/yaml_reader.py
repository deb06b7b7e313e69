"""YAML text to settings with their places: safe, bounded and strict.

Refused, each with its place: tags, duplicate keys, merge keys (``<<``), tabs as indentation,
unknown or self-referring aliases, keys that are not text, several documents, nesting deeper than
32 levels and more than 10,000 nodes, aliases counted each time they are used.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from experiments.errors import ConfigProblems, Problem
from experiments.scalars import plain_scalar
from experiments.sources import Path, Place, Source, Tree

MAX_DEPTH = 32
MAX_NODES = 10_000
_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_MANY = f"more than {MAX_NODES} nodes (aliases count each time they are used)"


def read_mapping(text: str, source: Source) -> Tree:
    """Return the settings of a YAML document whose root is a mapping.

    Raises:
        ConfigProblems: The text is not YAML, breaks a limit, or its root is no mapping.
    """
    reader = _Reader(source)
    node = reader.compose(text)
    if node is None:
        reader.fail("the file is empty; wanted settings such as 'name: my-run'")
    if not isinstance(node, MappingNode):
        reader.fail(f"must be a mapping of settings, got {_kind(node)}", reader.place(node))
    tree = Tree(places={})
    tree.data = reader.convert(node, (), tree.places)
    return tree


def read_value(text: str, source: Source, column: int, path: Path) -> tuple[Any, dict[Path, Place]]:
    """Return the value of an override (a scalar or flow collection) and the places inside it.

    ``column`` is the 0-based position of ``text`` in the override, ``path`` the overridden key.
    """
    reader = _Reader(source, column, path)
    node = reader.compose(text)
    places: dict[Path, Place] = {}
    return (None if node is None else reader.convert(node, path, places)), places


def _kind(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return f"the scalar {node.value!r:.40}"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


class _Composer(yaml.SafeLoader):
    """PyYAML's parser with limits; values are made by ``_Reader.convert``, never constructed."""

    reader: _Reader
    depth = 0
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        place = self.reader.mark(event.start_mark, event.end_mark)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.reader.fail(_MANY, place)
        if self.depth > MAX_DEPTH:
            self.reader.fail(_DEEP, place)
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                self.reader.fail(
                    f"unknown alias '*{event.anchor}'; define it before with '&{event.anchor}'",
                    place,
                )
        elif event.tag is not None:
            self.reader.fail(f"tags are not allowed, got {event.tag!r:.60}", place)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Reader:
    """One text on its way to settings."""

    def __init__(self, source: Source, column: int = 0, path: Path = ()) -> None:
        self.source = source
        self.column = column
        self.path = path
        self.nodes = 0
        self.open: list[Node] = []

    def fail(self, message: str, place: Place | None = None, path: Path | None = None) -> NoReturn:
        place = place or Place(self.source, 1, 1)
        problem = Problem(self.path if path is None else path, message, place)
        raise ConfigProblems(self.source.label, [problem])

    def mark(self, start: Any, end: Any) -> Place:
        length = end.column - start.column if end.line == start.line else 10**6
        line = self.source.lines[start.line] if start.line < len(self.source.lines) else ""
        room = len(line.rstrip()) - start.column - self.column
        shift = self.column if start.line == 0 else 0
        return Place(
            self.source, start.line + 1, start.column + shift + 1, max(1, min(length, room))
        )

    def place(self, node: Node) -> Place:
        return self.mark(node.start_mark, node.end_mark)

    def compose(self, text: str) -> Node | None:
        try:
            composer = _Composer(text)
            composer.reader = self
            node: Node | None = composer.get_single_node()
        except yaml.reader.ReaderError as error:
            code = error.character if isinstance(error.character, int) else ord(error.character)
            self.fail(f"character U+{code:04X} is not allowed", self._at(text, error.position))
        except yaml.MarkedYAMLError as error:
            self._fail_syntax(error)
        return node

    def _at(self, text: str, position: int) -> Place:
        before = Source.of_text("", text[:position]).lines
        shift = self.column if len(before) == 1 else 0
        return Place(self.source, len(before), len(before[-1]) + shift + 1)

    def _fail_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        place = Place(self.source, 1, 1) if mark is None else self.mark(mark, mark)
        line = self.source.lines[place.line - 1] if place.line <= len(self.source.lines) else ""
        if line[place.column - 1 : place.column] == "\t" or line.lstrip(" ").startswith("\t"):
            column = len(line) - len(line.lstrip(" ")) + 1
            if line[column - 1 : column] == "\t":
                place = Place(self.source, place.line, column)
            self.fail("tab used as indentation; use spaces", place)
        if "single document" in str(error.context):
            self.fail("only one document a file is allowed, found a second '---'", place)
        if "<block end>" in str(error.problem):
            self.fail("wrong indentation: settings of one mapping start in one column", place)
        problem = str(error.problem).replace("<stream end>", "the end of the text")
        context = f" {error.context}" if error.context else ""
        self.fail(f"not valid YAML: {problem}{context}", place)

    def convert(self, node: Node, path: Path, places: dict[Path, Place]) -> Any:
        """Return plain data for ``node``, adding the places of its keys and items."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(_MANY, self.place(node))
        if any(node is opened for opened in self.open):
            self.fail("alias refers to itself", self.place(node), path)
        if len(self.open) > MAX_DEPTH:
            self.fail(_DEEP, self.place(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self.open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path, places)
            return self._sequence(node, path, places)
        finally:
            self.open.pop()

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        if node.style is not None:
            return node.value
        try:
            return plain_scalar(node.value)
        except ValueError as error:
            self.fail(str(error), self.place(node), path)

    def _sequence(self, node: SequenceNode, path: Path, places: dict[Path, Place]) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            places[(*path, index)] = self.place(item)
            items.append(self.convert(item, (*path, index), places))
        return items

    def _mapping(self, node: MappingNode, path: Path, places: dict[Path, Place]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value in node.value:
            key = self._key(key_node, path)
            below = (*path, key)
            if key in result:
                first = places[below]
                self.fail(f"duplicate key; first on line {first.line}", self.place(key_node), below)
            places[below] = self.place(key_node)
            result[key] = self.convert(value, below, places)
        return result

    def _key(self, node: Node, path: Path) -> str:
        place = self.place(node)
        if not isinstance(node, ScalarNode):
            self.fail(f"a key must be text, got {_kind(node)}", place, path)
        key = self._scalar(node, path)
        if not isinstance(key, str):
            self.fail(f"a key must be text, got {node.value:.40}; put it in quotes", place, path)
        if key == "<<":
            self.fail("merge keys are not supported; use 'include:' or list several files", place)
        return key
