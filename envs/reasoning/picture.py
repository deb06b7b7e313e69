"""Pictures of reasoning tasks: a terminal, or a Sudoku grid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from envs.reasoning.answers import tagged_or_boxed
from envs.reasoning.task import Item

if TYPE_CHECKING:
    from envs.core.palette import Colour

COLUMNS, ROWS, TAIL = 64, 34, 1_200
"""Size of the terminal, and the most characters shown of a completion, from its end."""

_TAG = re.compile(r"(</?[A-Za-z]{1,12}>)")


def picture(item: Item, completion: str | None, reward: float) -> np.ndarray:
    """Return a picture as uint8 ``[height, width, 3]``.

    Args:
        item: The problem.
        completion: The answer; None before there is one.
        reward: What it earned.
    """
    if "clues" in item.meta:
        return _grid(item, completion, reward)
    from envs.core.canvas import text_screen

    told: list[str | list[tuple[str, Colour]]] = [[(item.prompt, "sky")], ""]
    if completion is not None:
        told += [*_coloured(completion[-TAIL:]), ""]
        told += [[(f"reward {reward:g}", "mint" if reward >= 1 else "orange")]]
    return text_screen(told, COLUMNS, ROWS)


def _coloured(completion: str) -> list[str | list[tuple[str, Colour]]]:
    """Return lines of a completion: a line for each opening tag, deeper ones further in."""
    lines: list[list[tuple[str, Colour]]] = [[]]
    depth = 0
    for piece in _TAG.split(completion):
        if not _TAG.fullmatch(piece):
            lines[-1].append((piece, "white"))
            continue
        closes = piece.startswith("</")
        depth = max(depth - 1, 0) if closes else depth
        if not closes or not any(text.strip() for text, _ in lines[-1]):
            lines.append([("  " * depth, "white")])
        lines[-1].append((piece, "orange"))
        if closes:
            lines.append([("  " * max(depth - 1, 0), "white")])
        depth += not closes
    return [line for line in lines if any(text.strip() for text, _ in line)]


def screen(item: Item, completion: str | None, reward: float) -> str:
    """Return the same as text for a terminal."""
    told = f"\x1b[36m{item.prompt}\x1b[0m\n"
    if completion is None:
        return told
    seen = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in completion[-TAIL:])
    return f"{told}\n{seen}\n\x1b[{32 if reward >= 1 else 33}mreward {reward:g}\x1b[0m\n"


def _grid(item: Item, completion: str | None, reward: float) -> np.ndarray:
    """Return a Sudoku with its clues dark, right answers green and wrong ones red."""
    from envs.core.canvas import Canvas

    clues, solution = item.meta["clues"], item.meta["solution"]
    size = {16: 4, 81: 9}[len(clues)]
    given = "".join((tagged_or_boxed(completion or "") or "").split())
    canvas = Canvas(480, 520, (-0.3, size + 0.3), (size + 0.3 + 0.083 * size, -0.3))
    box = {4: 2, 9: 3}[size]
    for row in range(box):
        for column in range((row + 1) % 2, box, 2):
            corner = (column * box, row * box)
            canvas.rectangle(*corner, corner[0] + box, corner[1] + box, "#eceae1")
    for cell, clue in enumerate(clues):
        place = (cell % size + 0.5, cell // size + 0.5)
        if clue != "0":
            canvas.text(place, clue, 250 // size, "ink", anchor="mm", face="bold")
        elif cell < len(given) and given[cell] != "0":
            colour = "green" if given[cell] == solution[cell] else "red"
            canvas.text(place, given[cell], 250 // size, colour, anchor="mm")
    for line in range(size + 1):
        width = 3.0 if line % box == 0 else 1.0
        canvas.line((line, 0), (line, size), "ink", width)
        canvas.line((0, line), (size, line), "ink", width)
    if completion is not None:
        told = f"reward {reward:.3g}"
        canvas.text((size / 2, size + 0.05 * size), told, 20, "ink", anchor="mm")
    return canvas.array()
