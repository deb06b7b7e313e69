r"""The published evaluation parsers of d1: more lenient than its training rewards.

They unwrap ``\boxed{}`` and LaTeX operators and fall back on the raw text, so that accuracy by
these and reward by profile ``d1`` differ: ``<answer>\boxed{18}</answer>`` is right here and worth 0
there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from envs.reasoning.answers import first_tagged, last_boxed
from envs.reasoning.countdown import d1_right

_LATEX = (("\\div", "/"), ("\\times", "*"), ("\\cdot", "*"))
_BEFORE_EQUALS = re.compile(r"([0-9+\-*/() ]+)=[0-9. ]")
_NUMBER = re.compile(r"-?[0-9]+\.?[0-9]*")
_CUT = re.compile(r"<\|eot_id\|>|<\|endoftext\|>|</answer>")
_END = re.compile(r"<\|eot_id\|>|<\|endoftext\|>")
_SIXTEEN = re.compile(r"([0-9]{16})\s*</answer>")
_ALONE = re.compile(r"\b([0-9]{16})\b")
_BOXES = re.compile(r"\\boxed{([^}\n]*)}")


def countdown_right(completion: str, numbers: Sequence[int], target: int) -> bool:
    """Return whether a completion solves a Countdown item."""
    equation = last_boxed(completion)
    if equation is None:
        tagged = first_tagged(completion)
        equation = completion if tagged is None else tagged.strip()
    for old, new in _LATEX:
        equation = equation.replace(old, new)
    left = _BEFORE_EQUALS.search(equation[:4_000])
    if left:
        equation = left[1].strip()
    return d1_right(equation, {"numbers": numbers, "target": target})


def sudoku_cells_right(completion: str, clues: str, solution: str) -> int:
    """Return how many hidden cells of a 4x4 puzzle a completion gets right."""
    given = re.sub(r"\s", "", _grid(completion))
    if not given:
        return 0
    given = given[:16].ljust(16, "0")
    return sum(a == b for clue, a, b in zip(clues, given, solution, strict=True) if clue == "0")


def _grid(completion: str) -> str:
    """Return the first of several places where a grid may stand that holds anything."""
    after = completion.partition("<answer>")[2]
    fenced = re.search(r"```\s*([0-9\s]+)```", after[:4_000])
    if fenced and fenced[1].strip():
        return fenced[1].strip()
    closed = _CUT.search(after)
    if closed and after[: closed.start()].strip():
        return after[: closed.start()].strip()
    tail = completion.partition("</answer>")[2]
    if tail and (rest := _END.split(tail.lstrip(), maxsplit=1)[0].strip()):
        return rest
    for pattern in (_SIXTEEN, _ALONE):
        if found := pattern.search(completion):
            return found[1]
    return ""


def gsm8k_number(completion: str) -> float | None:
    """Return the number that a completion ends in, by its boxes first, then its answer tag."""
    for content in (box.strip() for box in _BOXES.findall(completion)):
        if content and set(content) != {"."}:
            number = _float(content, 0)
            if number is not None:
                return number
    tagged = (first_tagged(completion) or "").strip()
    return _float(tagged, -1) if tagged else None


def _float(text: str, which: int) -> float | None:
    """Return the text as a number, or its first (0) or last (-1) number."""
    try:
        return float(text)
    except ValueError:
        found = _NUMBER.findall(text)
        return float(found[which]) if found else None
