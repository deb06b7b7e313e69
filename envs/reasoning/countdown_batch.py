"""Countdown answers graded many at a time.

All answers are joined into one text, so that numbers and shapes are found by two passes of a
regular expression; the few hundred shapes are parsed once; values come from the batched stack
machine as exact fractions. What does not fit there is computed one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from envs.reasoning.expression_batch import fits, run_all
from envs.reasoning.expressions import MAX_LENGTH, NUMBER, Program, program_of, run

UNREAD, WRONG_VALUE, RIGHT, DOUBTFUL = 0, 1, 2, 3
"""Grades: no expression; wrong numbers or value; right; to be looked at one by one."""

_LARGEST = 10**9
"""Numbers of ten digits or more are no item's."""


def grade(
    answers: Sequence[str], items: Sequence[Mapping[str, Any]], near: float = 0.0
) -> np.ndarray:
    """Return the grade of each answer as int8 ``[n]``.

    Args:
        answers: Stripped answers.
        items: ``numbers`` and ``target`` of each one's item.
        near: 0 for exact values and the grammar of :mod:`expressions`. Above 0: the distance from
            the target that is still right, in Python's grammar; then whatever Python may read
            otherwise is ``DOUBTFUL`` or ``UNREAD``.
    """
    grades = np.zeros(len(answers), np.int8)
    if near:
        grades[[row for row, text in enumerate(answers) if _odd(text)]] = DOUBTFUL
    programs, values, starts, counts = _read(answers)
    parsed = np.array([program is not None for program in programs], bool) & (grades != DOUBTFUL)
    grades[parsed] = WRONG_VALUE
    wanted = np.array([len(item["numbers"]) for item in items])
    for n in np.unique(wanted):
        rows = np.flatnonzero(parsed & (wanted == n) & (counts == n))
        if len(rows):
            used = values[starts[rows, None] + np.arange(n)]
            _grade_values(grades, rows, programs, used, items, near)
    return grades


def _odd(text: str) -> bool:
    """Return whether Python may read a text otherwise than :mod:`expressions` does."""
    if "**" in text or "//" in text or "\n" in text or "\r" in text or "." in text:
        return True
    return "0" in text and any(len(d) > 1 and d[0] == "0" for d in NUMBER.findall(text))


def _read(
    answers: Sequence[str],
) -> tuple[list[Program | None], np.ndarray, np.ndarray, np.ndarray]:
    """Return programs, all numbers in one array, and where each answer's numbers start and stop."""
    short = [text if len(text) <= MAX_LENGTH else "" for text in answers]
    joined = "\n".join(short)
    if joined.count("\n") >= len(short):
        joined = "\n".join([text.replace("\n", " ") for text in short])
    shapes = NUMBER.sub("9", joined)
    shapes = shapes.replace(" ", "").replace("\t", "").replace("\r", "")
    parts = shapes.split("\n")
    known = {shape: (program_of(shape), shape.count("9")) for shape in set(parts)}
    programs = [known[shape][0] for shape in parts]
    counts = np.array([known[shape][1] for shape in parts])
    found = [int(d) if len(d) < 10 else _LARGEST for d in NUMBER.findall(joined)]
    return programs, np.array(found, np.int64), np.cumsum(counts) - counts, counts


def _grade_values(
    grades: np.ndarray,
    rows: np.ndarray,
    programs: Sequence[Program | None],
    used: np.ndarray,
    items: Sequence[Mapping[str, Any]],
    near: float,
) -> None:
    """Grade the rows whose answers have as many numbers ``used`` ``[m, n]`` as their items."""
    given = np.array([items[row]["numbers"] for row in rows], np.int64)
    fair = (np.sort(used, 1) == np.sort(given, 1)).all(1)
    rows, used = rows[fair], used[fair]
    if not len(rows):
        return
    chosen = [program for row in rows if (program := programs[row]) is not None]
    target = np.array([items[row]["target"] for row in rows], np.int64)
    if not fits(int(max(used.max(), np.abs(target).max())), used.shape[1] + 1):
        grades[rows] = [
            DOUBTFUL if near else _exact(program, numbers, int(goal))
            for program, numbers, goal in zip(chosen, used.tolist(), target, strict=True)
        ]
        return
    top, bottom = run_all(chosen, used)
    hit = (top == target * bottom) & (bottom != 0)
    grades[rows[hit]] = RIGHT
    if near:
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.abs(top / bottom - target)
        grades[rows[~hit & (bottom != 0) & (far < 2 * near)]] = DOUBTFUL


def _exact(program: Program, numbers: Sequence[int], target: int) -> int:
    try:
        return RIGHT if run(program, numbers) == Fraction(target) else WRONG_VALUE
    except ZeroDivisionError:
        return WRONG_VALUE
