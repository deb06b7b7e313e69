"""Configuration problems: collected from every section, printed with line, column and caret."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from experiments.sources import Path, Place, Source, dotted
from rlcore.errors import ConfigError

_WINDOW = 110


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        path: The setting, from the root; empty for the text as a whole.
        message: What is wrong, with the value found and the value wanted.
        place: Where it was written, if it came from a text.
        see: The argument of ``rlcore explain`` that documents it, if any.
    """

    path: Path
    message: str
    place: Place | None = None
    see: str | None = None


class ConfigProblems(ConfigError):
    """Every problem of one configuration at once.

    Attributes:
        name: The main file, or ``config`` for settings given as Python objects.
        problems: Sorted: files in order of first appearance, then by line, overrides last.
    """

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = sorted(problems, key=_order)
        super().__init__(format_problems(name, self.problems))


def _order(problem: Problem) -> tuple[int, int, int, int]:
    place = problem.place
    if place is None:
        return (1, 0, 0, 0)
    if place.source.kind == "override":
        return (2, place.source.number, place.column, 0)
    return (0, place.line, place.column, 0)


def format_problems(name: str, problems: Sequence[Problem]) -> str:
    """Return the report of ``problems``, one block a file, the main file first."""
    groups: dict[str, list[Problem]] = {name: []}
    for problem in problems:
        in_other_file = problem.place is not None and problem.place.source.kind == "file"
        groups.setdefault(
            problem.place.source.label if problem.place and in_other_file else name, []
        ).append(problem)
    blocks = [_format_group(label, group) for label, group in groups.items() if group]
    see = dict.fromkeys(problem.see for problem in problems if problem.see)
    tail = f"\nSee: rlcore explain {' '.join(see)}" if see else ""
    return "\n\n".join(blocks) + tail


def _format_group(label: str, problems: Sequence[Problem]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    where = [_where(problem.place) for problem in problems]
    paths = [dotted(problem.path) for problem in problems]
    left = max(map(len, where))
    middle = max(map(len, paths))
    lines = [f"{label}: {count}", ""]
    for problem, place, path in zip(problems, where, paths, strict=True):
        cells = [place.ljust(left) if left else "", path.ljust(middle) if middle else ""]
        lines.append("  " + "   ".join([cell for cell in cells if cell] + [problem.message]))
        if problem.place is not None:
            lines.extend(_excerpt(problem.place))
    return "\n".join(lines)


def _where(place: Place | None) -> str:
    if place is None:
        return ""
    if place.source.kind == "override":
        return f"override #{place.source.number} {place.source.label!r}"
    return f"line {place.line}, column {place.column}"


def _excerpt(place: Place) -> list[str]:
    source = place.source
    if not 1 <= place.line <= len(source.lines):
        return []
    text = source.lines[place.line - 1]
    start = place.column - 1
    cut = max(0, start - _WINDOW // 2) if len(text) > _WINDOW else 0
    shown = "".join(c if c.isprintable() else " " for c in text[cut : cut + _WINDOW])
    length = max(1, min(place.length, _WINDOW - (start - cut)))
    gutter = _gutter(source, place.line)
    return [f"{gutter} | {shown}", f"{' ' * len(gutter)} | {' ' * (start - cut)}{'^' * length}"]


def _gutter(source: Source, line: int) -> str:
    return (f"#{source.number}" if source.kind == "override" else str(line)).rjust(6)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice closest to ``name``, else ``""``."""
    found = get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""


def choices_text(choices: Iterable[object]) -> str:
    """Return choices as a quoted, comma-separated list for messages."""
    return ", ".join(f"'{choice}'" for choice in choices)
