r"""Numbers as people and language models write them: ``$1,200``, ``\frac{3}{4}``, ``12 apples``."""

from __future__ import annotations

import re
from fractions import Fraction

from envs.reasoning.answers import last_boxed
from envs.reasoning.expressions import ExpressionError, evaluate

MAX_LENGTH = 400
"""Longer texts are no number."""

_REPLACED = (
    ("\\left", ""),
    ("\\right", ""),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\times", "*"),
    ("\\cdot", "*"),
    ("\\div", "/"),
    ("\\%", " "),
    ("%", " "),
    ("\\$", " "),
    ("$", " "),
    ("\u20ac", " "),
    ("\u00a3", " "),
    ("\\,", ""),
    ("\\!", ""),
    ("{,}", ","),
    ("\u2212", "-"),
    ("\u00d7", "*"),
    ("\u00f7", "/"),
)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")
_FRACTION = re.compile(r"(-?)\\frac\s*\{\s*(-?[0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3})((?:,[0-9]{3})+)(?![0-9,])")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\Z")
_MIXED = re.compile(r"([0-9]+) +([0-9]+)/([0-9]+)\Z")
_UNIT = re.compile(r"(?:[A-Za-z][^0-9]*|[^0-9+\-*/().]*)\Z")
_LEADING = re.compile(r"[A-Za-z=: ]*")


def number_of(text: str) -> Fraction | None:
    r"""Return the number that a short text states, exactly; None if it states none.

    Understood are signs, decimals, thousands commas, currency and percent signs (dropped), a unit
    behind the number or words before it, fractions (``3/4``, ``1 3/4``, ``\frac{3}{4}``),
    ``\boxed{}``, LaTeX operators, and arithmetic of whole numbers. ``a = b`` states ``b``.
    """
    if len(text) > MAX_LENGTH:
        return None
    boxed = last_boxed(text)
    text = (text if boxed is None else boxed).replace("\\text{}", "")
    for old, new in _REPLACED:
        text = text.replace(old, new)
    text = _FRACTION.sub(r"\1(\2/\3)", _TEXT.sub(" ", text))
    text = text.rpartition("=")[2].strip().rstrip(".").rstrip()
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    text = _UNIT.sub("", _LEADING.sub("", text, count=1), count=1).strip().rstrip(".")
    return _value(text)


def _value(text: str) -> Fraction | None:
    try:
        if _DECIMAL.match(text):
            return Fraction(text)
        mixed = _MIXED.match(text)
        if mixed:
            whole, top, bottom = (int(digits) for digits in mixed.groups())
            return whole + Fraction(top, bottom)
        return evaluate(text.lstrip("+"))
    except (ExpressionError, ZeroDivisionError, ValueError):
        return None
