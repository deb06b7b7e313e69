"""Arithmetic expressions: a tokenizer, a Pratt parser and exact values.

An expression becomes a postfix program: small integers stand for operand ``0, 1, ...`` in the order
of the text, negative ones for operators. Nothing of the text is ever given to the interpreter.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from fractions import Fraction

ADD, SUB, MUL, DIV, NEG = -1, -2, -3, -4, -5
"""Opcodes of a postfix program; operand ``k`` is ``k`` itself."""

MAX_LENGTH = 256
"""Characters of an expression, white space included."""
MAX_DEPTH = 24
"""Parentheses and unary signs inside each other."""
MAX_OPERANDS = 16

Program = tuple[int, ...]

_BINDING = {"+": (1, ADD), "-": (1, SUB), "*": (2, MUL), "/": (2, DIV)}
NUMBER = re.compile(r"[0-9]+")
_BLANK = str.maketrans("", "", " \t\r\n")


class ExpressionError(ValueError):
    """The text is no expression of numbers, ``+ - * /`` and parentheses, or is too large."""


def shape_of(text: str) -> str:
    """Return an expression with every number as ``9`` and without white space.

    The program of an expression depends on nothing else. Two numbers side by side become ``99``,
    which is no expression.
    """
    return NUMBER.sub("9", text).translate(_BLANK)


@functools.lru_cache(maxsize=8192)
def program_of(shape: str) -> Program | None:
    """Return the postfix program of a shape, or None if it is no expression."""
    if len(shape) > MAX_LENGTH or not 1 <= shape.count("9") <= MAX_OPERANDS:
        return None
    try:
        return _Parser(shape).program()
    except ExpressionError:
        return None


class _Parser:
    """Precedence climbing over the characters of one shape."""

    def __init__(self, shape: str) -> None:
        self._shape, self._at, self._operands = shape, 0, 0
        self._code: list[int] = []

    def program(self) -> Program:
        self._expression(0, 0)
        if self._at != len(self._shape):
            raise ExpressionError(f"cannot read {self._shape[self._at :]!r}")
        return tuple(self._code)

    def _peek(self) -> str:
        return self._shape[self._at : self._at + 1]

    def _expression(self, floor: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExpressionError("nested too deeply")
        self._operand(depth)
        while (sign := self._peek()) in _BINDING and _BINDING[sign][0] > floor:
            self._at += 1
            binding, code = _BINDING[sign]
            self._expression(binding, depth + 1)
            self._code.append(code)

    def _operand(self, depth: int) -> None:
        sign = self._peek()
        self._at += 1
        if sign == "9":
            self._code.append(self._operands)
            self._operands += 1
        elif sign == "(":
            self._expression(0, depth + 1)
            if self._peek() != ")":
                raise ExpressionError("a parenthesis is not closed")
            self._at += 1
        elif sign == "-":
            self._expression(2, depth + 1)  # tighter than a quotient: 2/-3*4 is (2/-3)*4
            self._code.append(NEG)
        else:
            raise ExpressionError(f"wanted a number, a sign or a parenthesis, got {sign!r}")


def numbers_in(text: str) -> list[int]:
    """Return the whole numbers in a text, in order; digits are ASCII digits."""
    return [int(digits) for digits in NUMBER.findall(text)]


def run(program: Program, operands: Sequence[int]) -> Fraction:
    """Return the exact value of a program.

    Raises:
        ZeroDivisionError: It divides by zero.
    """
    stack: list[Fraction] = []
    for code in program:
        if code >= 0:
            stack.append(Fraction(operands[code]))
        elif code == NEG:
            stack.append(-stack.pop())
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(apply(code, left, right))
    return stack[0]


def apply(code: int, left: Fraction, right: Fraction) -> Fraction:
    """Return one operation's exact value.

    Raises:
        ZeroDivisionError: It divides by zero.
    """
    if code == ADD:
        return left + right
    if code == SUB:
        return left - right
    return left * right if code == MUL else left / right


def evaluate(text: str) -> Fraction:
    """Return the exact value of an expression.

    Raises:
        ExpressionError: It is none.
        ZeroDivisionError: It divides by zero.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"{len(text)} characters, at most {MAX_LENGTH} are read")
    program = program_of(shape_of(text))
    if program is None:
        raise ExpressionError(f"no expression: {text!r:.60}")
    return run(program, numbers_in(text))
