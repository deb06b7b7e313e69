"""Values of arithmetic as Python's own evaluation gives them, within bounds and without running it.

The published d1 and TinyZero rewards hand an answer of digits, ``+ - * / ( ) .`` and white space to
``eval``. What that accepts (``2**3``, ``7//2``, floats; no leading zeros) is found here by walking
the syntax tree, and what makes it hang (``9**9**9``) counts as failing to evaluate.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

MAX_LENGTH = 1_000
"""Longer expressions count as failing to evaluate."""
MAX_BITS = 4_096
"""Powers with more bits than this count as failing to evaluate."""

Number = int | float | complex

_ALLOWED = re.compile(r"[\d+\-*/().\s]+\n?\Z")
_BINARY: dict[type[ast.operator], Callable[..., Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def evaluate(text: str) -> Number | None:
    """Return the value of an expression, or None where Python or a bound refuses it."""
    if len(text) > MAX_LENGTH or not _ALLOWED.match(text):
        return None
    try:
        tree = ast.parse(text.lstrip(" \t"), mode="eval")
        return _value(tree.body)
    except (SyntaxError, ValueError, ArithmeticError, TypeError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        return _BINARY[type(node.op)](left, right)
    raise TypeError(f"{type(node).__name__} is no arithmetic")  # an empty tuple or a call


def _power(base: Number, exponent: Number) -> Number:
    whole = isinstance(base, int) and isinstance(exponent, int) and exponent > 0
    if whole and int(base).bit_length() * int(exponent) > MAX_BITS:  # type: ignore[arg-type]
        raise OverflowError("the power is too large")
    result: Number = base**exponent
    return result
