"""Parallel reasoning as text: two tag schemas, a parser to a span tree, and a verifier.

A block is an outline of numbered plans, one branch for each, and a join. Branches are written as if
blind to each other; the verifier finds numbers that a branch can only have from a sibling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True, slots=True)
class Schema:
    """Tags and limits of a format. Pairs are ``(opening, closing)``; an empty tag is not written.

    Attributes:
        name: ``multiverse`` or ``npr``.
        block: Around a whole block.
        plans: Around the plans.
        plan: Around one plan.
        branch: Around one branch.
        join: Around what follows the branches.
        max_branches: Most branches of a block.
        max_depth: Most blocks inside each other.
    """

    name: str
    block: tuple[str, str]
    plans: tuple[str, str]
    plan: tuple[str, str]
    branch: tuple[str, str]
    join: tuple[str, str]
    max_branches: int = 6
    max_depth: int = 4


MULTIVERSE = Schema(
    "multiverse",
    ("<Parallel>", "</Parallel>"),
    ("<Goal>", "</Goal>"),
    ("<Outline>", "</Outline>"),
    ("<Path>", "</Path>"),
    ("<Conclusion>", "</Conclusion>"),
)
NPR = Schema(
    "npr",
    ("", ""),
    ("<guideline>", "</guideline>"),
    ("<plan>", "</plan>"),
    ("<step>", "</step>"),
    ("<takeaway>", "</takeaway>"),
    max_depth=1,
)
SCHEMAS = {schema.name: schema for schema in (MULTIVERSE, NPR)}


@dataclass(slots=True)
class Block:
    """One parallel block: plans and branches by their labels, and the join's text."""

    plans: list[tuple[str, str]] = field(default_factory=list)
    branches: list[tuple[str, list[str | Block]]] = field(default_factory=list)
    join: str = ""


Content = list[str | Block]


@dataclass(frozen=True, slots=True)
class StructureReport:
    """What the verifier found.

    Attributes:
        ok: Whether there is a block, the grammar holds and nothing leaks.
        errors: What is wrong, in words.
        leaks: ``(label, number)`` of numbers that a branch has from a sibling.
        blocks: How many blocks.
        branches: How many branches in all of them.
        depth: Most blocks inside each other.
    """

    ok: bool
    errors: tuple[str, ...]
    leaks: tuple[tuple[str, int], ...]
    blocks: int
    branches: int
    depth: int


class StructureError(ValueError):
    """A text that does not follow its schema."""


def write(schema: Schema, block: Block) -> str:
    """Return a block in canonical form: nothing between its elements."""
    plans = "".join(f"{schema.plan[0]}{n}: {text}{schema.plan[1]}" for n, text in block.plans)
    branches = "".join(
        f"{schema.branch[0]}{label}: {_written(schema, content)}{schema.branch[1]}"
        for label, content in block.branches
    )
    join = f"{schema.join[0]}{block.join}{schema.join[1]}"
    inner = f"{schema.plans[0]}{plans}{schema.plans[1]}{branches}{join}"
    return f"{schema.block[0]}{inner}{schema.block[1]}"


def _written(schema: Schema, content: Content) -> str:
    return "".join(part if isinstance(part, str) else write(schema, part) for part in content)


_LABEL = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,3}){0,7}):\s*")


@cache
def _tags(*names: str) -> re.Pattern[str]:
    """Return what finds opening and closing tags; a look at one letter spares most of the rest."""
    first = "".join(sorted({name[0] for name in names}))
    return re.compile(f"(<(?=[/{first}])/?(?:{'|'.join(names)})>)")


class _Parser:
    """Recursive descent over tags and the texts between them."""

    def __init__(self, schema: Schema, text: str) -> None:
        self._schema = schema
        pairs = (schema.block, schema.plans, schema.plan, schema.branch, schema.join)
        self._parts = _tags(*(pair[0].strip("<>") for pair in pairs if pair[0])).split(text)
        self._at = 0
        self._first = schema.block[0] or schema.plans[0]

    def whole(self) -> Content:
        content = self._content("", 0)
        if self._at < len(self._parts):
            raise StructureError(f"{self._parts[self._at]} where no block is open")
        return content

    def _tag(self) -> str:
        """Return the tag that comes next, past the text before it, or nothing at the end."""
        return self._parts[self._at + 1] if self._at + 1 < len(self._parts) else ""

    def _content(self, prefix: str, depth: int) -> Content:
        """Read text and blocks up to the first tag that opens no block."""
        content: Content = []
        while True:
            if self._parts[self._at]:
                content.append(self._parts[self._at])
            if self._tag() != self._first:
                self._at += 1
                return content
            content.append(self._block(prefix, depth + 1))

    def _expect(self, tag: str) -> None:
        """Step over one tag, with nothing but white space before it."""
        if not tag:
            return
        if self._parts[self._at].strip():
            raise StructureError(f"loose text before {tag}: {self._parts[self._at].strip()!r:.40}")
        if self._tag() != tag:
            raise StructureError(f"wanted {tag}, got {self._tag() or 'the end'}")
        self._at += 2

    def _block(self, prefix: str, depth: int) -> Block:
        schema, block = self._schema, Block()
        if depth > schema.max_depth:
            raise StructureError(f"blocks are nested deeper than {schema.max_depth}")
        self._parts[self._at] = ""  # the text before the block is its surroundings'
        self._expect(schema.block[0])
        self._expect(schema.plans[0])
        while self._tag() == schema.plan[0]:
            block.plans.append(self._element(schema.plan, prefix, len(block.plans) + 1))
        self._expect(schema.plans[1])
        while self._tag() == schema.branch[0]:
            self._expect(schema.branch[0])
            block.branches.append(self._branch(prefix, len(block.branches) + 1, depth))
        self._expect(schema.join[0])
        block.join = self._text(schema.join)
        self._expect(schema.block[1])
        n = len(block.plans)
        if not 1 <= n <= schema.max_branches:
            raise StructureError(f"{n} plans, wanted 1 to {schema.max_branches}")
        if len(block.branches) != n:
            raise StructureError(f"{n} plans but {len(block.branches)} branches")
        return block

    def _element(self, pair: tuple[str, str], prefix: str, number: int) -> tuple[str, str]:
        self._expect(pair[0])
        label, text = self._labelled(self._text(pair), prefix, number)
        return label, text

    def _text(self, pair: tuple[str, str]) -> str:
        text = self._parts[self._at]
        if self._tag() != pair[1]:
            raise StructureError(f"{pair[0]} holds {self._tag() or 'the end'}")
        self._at += 2
        return text

    def _labelled(self, text: str, prefix: str, number: int) -> tuple[str, str]:
        wanted, found = f"{prefix}{number}", _LABEL.match(text)
        if found is None or found[1] != wanted:
            raise StructureError(f"wanted label {wanted}:, got {text[:20]!r}")
        return wanted, text[found.end() :]

    def _branch(self, prefix: str, number: int, depth: int) -> tuple[str, Content]:
        label, rest = self._labelled(self._parts[self._at], prefix, number)
        self._parts[self._at] = rest
        content = self._content(f"{label}.", depth)
        self._at -= 1
        self._parts[self._at] = ""  # it is in the content already
        self._expect(self._schema.branch[1])
        return label, content


def parse(schema: Schema, text: str) -> Content:
    """Return texts and blocks of a completion; white space between elements is dropped.

    Raises:
        StructureError: It does not follow the schema.
    """
    return _Parser(schema, text).whole()


def verify(schema: Schema, text: str) -> StructureReport:
    """Return whether a completion follows a schema, and where its branches leak."""
    try:
        content = parse(schema, text)
    except StructureError as error:
        return StructureReport(False, (str(error),), (), 0, 0, 0)
    blocks = list(_blocks(content, 1))
    if not blocks:
        return StructureReport(False, ("no block",), (), 0, 0, 0)
    leaks = tuple(sorted(_leaks(content, None)))
    errors = tuple(f"branch {label} quotes {number} of a sibling" for label, number in leaks)
    branches = sum(len(block.branches) for block, _ in blocks)
    depth = max(depth for _, depth in blocks)
    return StructureReport(not leaks, errors, leaks, len(blocks), branches, depth)


def _blocks(content: Content, depth: int) -> Iterator[tuple[Block, int]]:
    for part in content:
        if isinstance(part, Block):
            yield part, depth
            for _, inner in part.branches:
                yield from _blocks(inner, depth + 1)


_VALUE = re.compile(r"(=?) ?([0-9]{1,18})")


def _told(text: str) -> tuple[set[int], set[int]]:
    """Return the numbers that a text uses before it has made them, and those it makes (``=5``)."""
    used: set[int] = set()
    made: set[int] = set()
    for sign, digits in _VALUE.findall(text):
        if sign:
            made.add(int(digits))
        elif int(digits) not in made:
            used.add(int(digits))
    return used, made


def _flat(content: Content) -> str:
    """Return all text of a content, nested blocks in the order of writing."""
    pieces: list[str] = []
    for part in content:
        if isinstance(part, str):
            pieces.append(part)
            continue
        pieces += [text for _, text in part.plans]
        pieces += [_flat(inner) for _, inner in part.branches]
        pieces.append(part.join)
    return " ".join(pieces)


def _leaks(content: Content, known: set[int] | None) -> Iterator[tuple[str, int]]:
    """Yield the leaks of all blocks in a content.

    Args:
        content: Texts and blocks.
        known: Numbers that may be used without having been made; None for any, outside of blocks.
    """
    for part in content:
        if isinstance(part, str):
            continue
        told = {label: _told(_flat(inner)) for label, inner in part.branches}
        plans = dict(part.plans)
        for label, inner in part.branches:
            own = set().union(*_told(plans[label]))
            siblings = set().union(*(made for other, (_, made) in told.items() if other != label))
            for number in (told[label][0] - own) & siblings:
                yield label, number
            yield from _leaks(inner, own)
