"""Small exercises in algebra with LaTeX answers, judged by :mod:`envs.reasoning.maths`."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np

from envs.reasoning.answers import OPEN, last_boxed, tagged_or_boxed
from envs.reasoning.gsm8k_d1 import last_answer
from envs.reasoning.maths import equivalent
from envs.reasoning.task import Item, RewardBreakdown, Task


class MathsTask(Task):
    r"""Add fractions, solve linear equations, expand products, simplify roots.

    Profile ``strict``: 1 for an equivalent answer in the answer tag or the last box. Profile
    ``d1``: 2 for equivalence, plus half of (1 for answer tags, 0 without) plus half of (1 for a
    box, 0.5 without): the published weights, but with our equivalence. Other
    problems are judged through :meth:`item`.

    Args:
        profile: ``strict`` or ``d1``.
    """

    id = "reasoning/maths"
    profiles: ClassVar[tuple[str, ...]] = ("strict", "d1")

    def draw(self, rng: np.random.Generator) -> Item:
        """Return an exercise of any split."""
        make = (_fractions, _equation, _product, _root)[int(rng.integers(4))]
        return self.item(*make(rng))

    def item(self, problem: str, answer: str) -> Item:
        """Return the item of a given problem and answer, both in LaTeX."""
        prompt = f"{problem}\nPut the answer as \\boxed{{}} between <answer> and </answer>."
        return Item(prompt, answer, {"problem": problem})

    def canonical(self, item: Item) -> str:
        """Return the problem."""
        return f"maths {item.meta['problem']}"

    def reference(self, item: Item) -> str:
        """Return the boxed answer between tags."""
        return f"<answer>\\boxed{{{item.answer}}}</answer>"

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return equivalence and format; see the class."""
        answer = tagged_or_boxed(completion)
        if self.profile == "strict":
            ok = answer is not None and equivalent(answer, item.answer)
            return RewardBreakdown(float(ok), {"correct": float(ok)}, answer, ok)
        answer = last_answer(completion)
        ok = equivalent(answer, item.answer)
        boxed = 1.0 if last_boxed(completion) is not None else 0.5
        parts = {
            "correct": 2.0 if ok else 0.0,
            "format": 0.5 * ((1.0 if OPEN in completion else 0.0) + boxed),
        }
        return RewardBreakdown(sum(parts.values()), parts, answer, ok)


def latex(value: Fraction) -> str:
    r"""Return a fraction as ``-\frac{3}{4}`` or a whole number."""
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _fractions(rng: np.random.Generator) -> tuple[str, str]:
    a, b, c, d = (int(x) for x in rng.integers(1, 20, 4))
    sign = "+-"[int(rng.integers(2))]
    second = Fraction(c, d + 1) * (1 if sign == "+" else -1)
    text = f"Evaluate $\\frac{{{a}}}{{{b + 1}}} {sign} \\frac{{{c}}}{{{d + 1}}}$."
    return text, latex(Fraction(a, b + 1) + second)


def _equation(rng: np.random.Generator) -> tuple[str, str]:
    a, b, c = (int(x) for x in rng.integers(1, 40, 3))
    return f"Solve ${a + 1}x + {b} = {c}$ for $x$.", latex(Fraction(c - b, a + 1))


def _product(rng: np.random.Generator) -> tuple[str, str]:
    a, b, c, d = (int(x) for x in rng.integers(1, 12, 4))
    return f"Expand $({a}x+{b})({c}x+{d})$.", f"{a * c}x^2+{a * d + b * c}x+{b * d}"


def _root(rng: np.random.Generator) -> tuple[str, str]:
    outside, inside = int(rng.integers(2, 15)), (2, 3, 5, 6, 7, 10, 11)[int(rng.integers(7))]
    text = f"Simplify $\\sqrt{{{outside * outside * inside}}}$."
    return text, f"{outside}\\sqrt{{{inside}}}"
