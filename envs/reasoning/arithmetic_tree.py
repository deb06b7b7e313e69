"""Random expression trees modulo ``m`` and their reduction, one operation at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Tree:
    """An operation on two trees, or a number.

    Attributes:
        sign: ``+``, ``-`` or ``*``; empty for a number.
        left: Left operand.
        right: Right operand.
        number: The number, where there is no operation.
    """

    sign: str = ""
    left: Tree | None = None
    right: Tree | None = None
    number: int = 0

    @property
    def operands(self) -> tuple[Tree, Tree] | None:
        """Both operands, or None for a number."""
        return None if self.left is None or self.right is None else (self.left, self.right)


_BINDING = {"+": 1, "-": 1, "*": 2, "": 3}


def random_tree(rng: np.random.Generator, operations: int, largest: int = 9) -> Tree:
    """Return a tree of random form with so many operations on numbers ``1..largest``."""
    if operations == 0:
        return Tree(number=int(rng.integers(1, largest + 1)))
    left = int(rng.integers(operations))
    sign = "+-*"[int(rng.integers(3))]
    return Tree(
        sign,
        random_tree(rng, left, largest),
        random_tree(rng, operations - 1 - left, largest),
    )


def balanced_tree(rng: np.random.Generator, depth: int, largest: int = 9) -> Tree:
    """Return a tree with ``2**depth`` numbers, all at one depth."""
    if depth == 0:
        return Tree(number=int(rng.integers(1, largest + 1)))
    sign = "+-*"[int(rng.integers(3))]
    return Tree(
        sign, balanced_tree(rng, depth - 1, largest), balanced_tree(rng, depth - 1, largest)
    )


def printed(tree: Tree) -> str:
    """Return the expression with no more parentheses than it needs."""
    operands = tree.operands
    if operands is None:
        return str(tree.number)
    left, right = operands
    own = _BINDING[tree.sign]
    first = printed(left) if _BINDING[left.sign] >= own else f"({printed(left)})"
    loose = _BINDING[right.sign] < own or (_BINDING[right.sign] == own and bool(right.sign))
    return f"{first}{tree.sign}" + (f"({printed(right)})" if loose else printed(right))


def operate(sign: str, left: int, right: int, modulus: int) -> int:
    """Return one operation's result in ``0..modulus-1``."""
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return value % modulus


def value(tree: Tree, modulus: int) -> int:
    """Return the value of a tree; a bare number is reduced too."""
    operands = tree.operands
    if operands is None:
        return tree.number % modulus
    left, right = operands
    return operate(tree.sign, value(left, modulus), value(right, modulus), modulus)


def steps(tree: Tree, modulus: int) -> list[str]:
    """Return the reduction as ``4*2=8`` statements, operands first."""
    operands = tree.operands
    if operands is None:
        return []
    left, right = operands
    own = f"{value(left, modulus)}{tree.sign}{value(right, modulus)}={value(tree, modulus)}"
    return [*steps(left, modulus), *steps(right, modulus), own]


def body(tree: Tree, modulus: int) -> str:
    """Return the steps joined by ``;``; a bare number states itself as ``=5``."""
    return ";".join(steps(tree, modulus)) or f"={value(tree, modulus)}"


def sum_steps(values: list[int], modulus: int) -> str:
    """Return running sums ``3+5=8;8+2=0``; a single value states itself."""
    total, told = values[0], []
    for number in values[1:]:
        after = (total + number) % modulus
        told.append(f"{total}+{number}={after}")
        total = after
    return ";".join(told) or f"={total}"


_STATEMENT = re.compile(r"(?<![0-9+\-*])([0-9]{1,9})([+\-*])([0-9]{1,9})=(-?[0-9]{1,12})")


def wrong_statements(text: str, modulus: int) -> list[str]:
    """Return the ``a op b=c`` statements of a text that do not hold modulo ``modulus``."""
    return [
        found[0]
        for found in _STATEMENT.finditer(text)
        if operate(found[2], int(found[1]), int(found[3]), modulus) != int(found[4])
    ]
