"""All solutions of a Countdown problem, each once.

Solutions that differ only by commutativity, associativity and where a sign or a quotient stands
(``a-(b-c)`` and ``c+a-b``) are one: an expression is kept as nested sums of signed terms and
products of factors with exponents +-1, both sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

Node = tuple[str, tuple[tuple[int, "Node"], ...]] | tuple[str, int]
Valued = tuple[int, int, Node]
"""Numerator, denominator (reduced, positive) and how the number came about."""


def solve(numbers: Sequence[int], target: int) -> list[str]:
    """Return every expression that uses each number once and equals the target, sorted."""
    found: set[str] = set()
    _search([(number, 1, ("n", number)) for number in numbers], target, found)
    return sorted(found)


def _search(pool: list[Valued], target: int, found: set[str]) -> None:
    if len(pool) == 1:
        if pool[0][0] == target * pool[0][1]:
            found.add(printed(pool[0][2]))
        return
    for i, left in enumerate(pool):
        for j in range(i):
            rest = [pool[k] for k in range(len(pool)) if k not in (i, j)]
            for joined in _joined(left, pool[j]):
                _search([*rest, joined], target, found)


def _joined(a: Valued, b: Valued) -> Iterator[Valued]:
    yield sum_of(a, b, 1)
    yield sum_of(a, b, -1)
    yield sum_of(b, a, -1)
    yield product_of(a, b, 1)
    if b[0]:
        yield product_of(a, b, -1)
    if a[0]:
        yield product_of(b, a, -1)


def sum_of(a: Valued, b: Valued, sign: int) -> Valued:
    """Return ``a + sign * b``."""
    top, bottom = a[0] * b[1] + sign * b[0] * a[1], a[1] * b[1]
    return *_reduced(top, bottom), _merged("+", a[2], b[2], sign)


def product_of(a: Valued, b: Valued, power: int) -> Valued:
    """Return ``a * b**power``.

    Raises:
        ZeroDivisionError: It divides by zero.
    """
    c, d = (b[0], b[1]) if power == 1 else (b[1], b[0])
    if d == 0:
        raise ZeroDivisionError("division by zero")
    return *_reduced(a[0] * c, a[1] * d), _merged("*", a[2], b[2], power)


def _reduced(top: int, bottom: int) -> tuple[int, int]:
    common = gcd(top, bottom) * (1 if bottom > 0 else -1)
    return top // common, bottom // common


def _merged(kind: str, a: Node, b: Node, exponent: int) -> Node:
    parts = [*_parts(kind, a, 1), *_parts(kind, b, exponent)]
    return kind, tuple(sorted(parts, key=lambda part: (-part[0], repr(part[1]))))


def _parts(kind: str, node: Node, exponent: int) -> list[tuple[int, Node]]:
    if node[0] == kind and isinstance(node[1], tuple):
        return [(exponent * own, part) for own, part in node[1]]
    return [(exponent, node)]


def printed(node: Node) -> str:
    """Return the expression as text with no more parentheses than it needs."""
    kind, parts = node
    if isinstance(parts, int):
        return str(parts)
    signs = ("+", "-") if kind == "+" else ("*", "/")
    text = ""
    for exponent, part in parts:
        inner = printed(part)
        bare = part[0] == "n" or kind == "+"
        text += (signs[exponent < 0] if text else "") + (inner if bare else f"({inner})")
    return text
