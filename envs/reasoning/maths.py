r"""Whether two mathematical answers are the same: a small LaTeX evaluator of our own.

Numbers, one-letter variables, ``+ - * / ^``, fractions, roots, ``\pi``, tuples, intervals, sets.
Expressions with variables are compared by their values at fixed points, exactly where no root or
``\pi`` is in them. Sizes are bounded: length, nesting, exponents and the digits of every number;
what exceeds a bound is no answer. Nothing of the text is given to the interpreter or to a computer
algebra system.
"""

from __future__ import annotations

import cmath
import re
from collections.abc import Sequence
from fractions import Fraction

from envs.reasoning.answers import last_boxed

MAX_LENGTH = 2_000
MAX_TOKENS = 500
MAX_DEPTH = 40
MAX_EXPONENT = 64
MAX_BITS = 4_096

Value = Fraction | complex
_POINTS = (Fraction(7, 3), Fraction(-11, 5), Fraction(13, 17))
"""Values given to the variables, shifted from letter to letter."""

_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,300}(?:\.[0-9]{1,300})?|\.[0-9]{1,300})"
    r"|(?P<command>\\[A-Za-z]{1,20})|(?P<letter>[A-Za-z])|(?P<sign>[+\-*/^(){}=])"
)
_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,;!: ]|\\?[%$]|\^\{?\\circ\}?|~"
)
_WORDS = re.compile(r"\\(?:text|mathrm|mbox|textbf)\{([^{}]{0,200})\}")
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])")
_ASSIGNED = re.compile(r"[A-Za-z](?:\([A-Za-z]\))?=(?!=)")
_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}"}


class MathsError(ValueError):
    """The text is no expression, or exceeds a bound."""


def equivalent(given: str, wanted: str) -> bool:
    r"""Return whether two answers denote the same object.

    Args:
        given: The answer to judge; a ``\boxed{}`` in it is opened.
        wanted: The right one.
    """
    if max(len(given), len(wanted)) > MAX_LENGTH:
        return False
    one, other = _plain(given), _plain(wanted)
    if not one or not other:
        return False
    return one == other or _same(one, other)


def _plain(text: str) -> str:
    """Return an answer without box, layout, units and thousands commas."""
    boxed = last_boxed(text)
    text = (text if boxed is None else boxed).strip().rstrip(".")
    bare = _WORDS.sub("", text)
    text = bare if bare.strip() else _WORDS.sub(r"\1", text)  # words alone are the answer
    text = _DROPPED.sub("", text)
    text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    text = re.sub(r"\s+", " ", text).strip()
    return _ASSIGNED.sub("", text, count=1) if _ASSIGNED.match(text) else text


def _same(one: str, other: str) -> bool:
    mine, theirs = _members(one), _members(other)
    if (mine is None) != (theirs is None):
        return False
    if mine is None or theirs is None:
        return _equal(one, other)
    (kind, left), (wanted, right) = mine, theirs
    if kind != wanted or len(left) != len(right):
        return False
    if kind[0] == "\\{":
        return all(any(_equal(a, b) for b in right) for a in left) and all(
            any(_equal(a, b) for a in left) for b in right
        )
    return all(_equal(a, b) for a, b in zip(left, right, strict=True))


def _members(text: str) -> tuple[tuple[str, str], list[str]] | None:
    """Return brackets and members of a tuple, interval or set of at most 20; None for others."""
    for opening in _BRACKETS:
        for closing in _BRACKETS.values():
            if text.startswith(opening) and text.endswith(closing):
                members = _split(text[len(opening) : -len(closing)])
                many = 2 <= len(members) <= 20 or (opening == "\\{" and len(members) == 1)
                return ((opening, closing), members) if many else None
    return None


def _split(text: str) -> list[str]:
    """Return what commas outside of brackets and braces separate."""
    members, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            members.append("")
        else:
            members[-1] += letter
    return [member.strip() for member in members]


def _equal(one: str, other: str) -> bool:
    try:
        return all(_near(evaluate(one, shift), evaluate(other, shift)) for shift in range(3))
    except (MathsError, ArithmeticError, RecursionError):
        return False


def _near(a: Value, b: Value) -> bool:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    return abs(complex(a) - complex(b)) <= 1e-9 * max(1.0, abs(complex(b)))


def evaluate(text: str, shift: int = 0) -> Value:
    """Return the value of an expression with its variables at fixed points.

    Args:
        text: LaTeX or plain.
        shift: Which of three assignments of the variables.

    Raises:
        MathsError: It is no expression or too large.
        ZeroDivisionError: It divides by zero.
        OverflowError: A number is too large.
    """
    return _Reader(_tokens(text), shift).whole()


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    place = 0
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = _TOKEN.match(text, place)
        if found is None or len(tokens) == MAX_TOKENS:
            raise MathsError(f"cannot read {text[place : place + 10]!r}")
        tokens.append(found[0])
        place = found.end()
    return tokens


class _Reader:
    """Evaluates tokens by recursive descent."""

    def __init__(self, tokens: Sequence[str], shift: int) -> None:
        self._tokens, self._at, self._shift, self._depth = [*tokens, ""], 0, shift, 0

    def whole(self) -> Value:
        value = self._sum()
        if self._tokens[self._at]:
            raise MathsError(f"cannot read {self._tokens[self._at]!r}")
        return value

    def _take(self, *wanted: str) -> str:
        word = self._tokens[self._at]
        if word and word in wanted:
            self._at += 1
            return word
        return ""

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise MathsError("nested too deeply")
        value = self._product()
        while sign := self._take("+", "-"):
            right = self._product()
            value = _bounded(value + right if sign == "+" else value - right)
        self._depth -= 1
        return value

    def _product(self) -> Value:
        value, whole = self._signed()
        while True:
            word = self._tokens[self._at]
            if self._take("*", "\\cdot", "\\times"):
                value = _bounded(value * self._signed()[0])
            elif self._take("/", "\\div"):
                value = _bounded(_quotient(value, self._signed()[0]))
            elif word == "\\frac" and whole:  # 1\frac{1}{2} is a mixed number
                value = _bounded(value + self._power()[0])
            elif word and (word[0].isalpha() or word[0] in "(\\{"):
                value = _bounded(value * self._power()[0])
            else:
                return value
            whole = False

    def _signed(self) -> tuple[Value, bool]:
        """Return a factor with its signs, and whether it is a bare positive whole number."""
        sign, bare = 1, True
        while word := self._take("+", "-"):
            sign, bare = -sign if word == "-" else sign, False
        value, whole = self._power()
        return sign * value, whole and bare

    def _power(self) -> tuple[Value, bool]:
        base, whole = self._atom()
        if not self._take("^"):
            return base, whole
        if self._take("-"):
            return _raised(base, -self._atom()[0]), False
        return _raised(base, self._atom()[0]), False

    def _atom(self) -> tuple[Value, bool]:
        word = self._tokens[self._at]
        self._at += 1
        if word and (word[0].isdigit() or word[0] == "."):
            return Fraction(word), word.isdigit()
        if word in ("(", "{"):
            return self._closed({"(": ")", "{": "}"}[word]), False
        if word == "\\frac":
            return _bounded(_quotient(self._argument(), self._argument())), False
        if word == "\\sqrt":
            return _root(self._argument()), False
        if word == "\\pi":
            return complex(cmath.pi), False
        if len(word) == 1 and word.isalpha():
            return _POINTS[(ord(word) + self._shift) % 3] + ord(word) % 32, False
        raise MathsError(f"wanted a number, got {word or 'the end'!r}")

    def _argument(self) -> Value:
        """Return a braced group, or the one digit that LaTeX takes without braces."""
        if self._take("{"):
            return self._closed("}")
        word = self._tokens[self._at]
        if len(word) > 1 and word.isdigit():
            self._tokens[self._at] = word[1:]
            return Fraction(word[0])
        return self._atom()[0]

    def _closed(self, closing: str) -> Value:
        value = self._sum()
        if not self._take(closing):
            raise MathsError(f"wanted {closing}, got {self._tokens[self._at] or 'the end'!r}")
        return value


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits > MAX_BITS:
            raise MathsError("a number has too many digits")
    return value


def _quotient(left: Value, right: Value) -> Value:
    return left / right


def _raised(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, complex) or abs(exponent) > MAX_EXPONENT:
        raise MathsError("the exponent is too large or no fraction")
    if isinstance(base, complex) or exponent.denominator != 1:
        return complex(base) ** float(exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS:
        raise MathsError("a power has too many digits")
    return base ** int(exponent)


def _root(value: Value) -> Value:
    return cmath.sqrt(complex(value))
