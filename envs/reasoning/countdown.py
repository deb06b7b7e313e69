"""Countdown: reach a target with each of some numbers used once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning import python_values
from envs.reasoning.answers import innermost, last_tagged
from envs.reasoning.countdown_batch import DOUBTFUL, RIGHT, UNREAD, grade
from envs.reasoning.countdown_solver import Valued, printed, product_of, solve, sum_of
from envs.reasoning.expressions import ExpressionError, evaluate, numbers_in
from envs.reasoning.task import MAX_COMPLETION, Item, RewardBreakdown, Task, check_flag

WRONG = 0.1
"""Reward of an answer that is there but wrong."""
NEAR = 1e-5
"""How far from the target profile ``d1`` still accepts a value."""

_DIGITS = re.compile(r"\d+")
_VALUE = re.compile(r"\s*-?[0-9]+\s*")


class CountdownTask(Task):
    """Countdown with ``n`` numbers.

    Targets are made from a random expression over the numbers, so that every item can be solved:
    of uniformly drawn triples and targets in 1..100 only 3.75 % can.

    Rewards: 1 for a right expression, 0.1 for a wrong one, 0 for none. Profile ``strict`` reads
    ``+ - * /``, signs and parentheses and computes exactly; an answer that is no expression earns
    0. Profile ``d1`` reads what Python's ``eval`` reads, accepts 1e-5 around the target and gives
    0.1 for whatever stands between the tags.

    Args:
        n: How many numbers.
        low: Smallest number.
        high: Largest number.
        max_target: Largest target; the smallest is 1.
        unique: Whether to draw only items with one solution (see :mod:`countdown_solver`).
        allow_equals: Whether ``strict`` ignores a trailing ``= 12``.
        profile: ``strict`` or ``d1``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/countdown-v0"
    profiles: ClassVar[tuple[str, ...]] = ("strict", "d1")

    def __init__(
        self,
        n: int = 3,
        low: int = 1,
        high: int = 100,
        max_target: int = 100,
        unique: bool = False,
        allow_equals: bool = False,
        profile: str = "strict",
    ) -> None:
        super().__init__(profile)
        self.n = check_integer(self.id, "n", n, 2, 6)
        self.low = check_integer(self.id, "low", low, 1, 9_999)
        self.high = check_integer(self.id, "high", high, self.low, 9_999)
        self.max_target = check_integer(self.id, "max_target", max_target, 1, 999_999)
        self.unique = check_flag(self.id, "unique", unique)
        self.allow_equals = check_flag(self.id, "allow_equals", allow_equals)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return an item whose target is the value of a random expression over its numbers."""
        while True:
            numbers = [int(x) for x in rng.integers(self.low, self.high + 1, self.n)]
            top, bottom, node = _random_expression(rng, numbers)
            if bottom != 1 or not 1 <= top <= self.max_target:
                continue
            if not self.unique or len(solve(numbers, top)) == 1:
                return self.item(numbers, top, printed(node))

    def item(self, numbers: Sequence[int], target: int, answer: str = "") -> Item:
        """Return the item of given numbers and target.

        Args:
            numbers: The numbers.
            target: The target.
            answer: A right expression, if one is known.
        """
        prompt = (
            f"Numbers: {list(numbers)}\nTarget: {target}\n"
            "Write an expression that equals the target, using each number exactly once and only "
            "+ - * / and parentheses. Put it between <answer> and </answer>."
        )
        return Item(prompt, answer, {"numbers": list(numbers), "target": target})

    def canonical(self, item: Item) -> str:
        """Return the sorted numbers and the target."""
        return f"countdown {sorted(item.meta['numbers'])} {item.meta['target']}"

    def reference(self, item: Item) -> str:
        """Return the answer between tags."""
        return f"<answer>{item.answer}</answer>"

    def solve(self, item: Item) -> list[str]:
        """Return all solutions; see :func:`envs.reasoning.countdown_solver.solve`."""
        return solve(item.meta["numbers"], item.meta["target"])

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return 1, 0.1 or 0; see the class."""
        return (
            self._d1(item, completion) if self.profile == "d1" else self._strict(item, completion)
        )

    def _strict(self, item: Item, completion: str) -> RewardBreakdown:
        answer = self._answer(completion)
        if answer is None:
            return _graded(0.0, None)
        try:
            value = evaluate(answer)
        except ExpressionError:
            return _graded(0.0, answer)
        except ZeroDivisionError:
            return _graded(WRONG, answer)
        right = sorted(numbers_in(answer)) == sorted(item.meta["numbers"])
        return _graded(1.0 if right and value == Fraction(item.meta["target"]) else WRONG, answer)

    def _answer(self, completion: str) -> str | None:
        answer = innermost(completion)
        if not self.allow_equals or answer is None:
            return answer
        head, equals, value = answer.rpartition("=")
        return head if equals and _VALUE.fullmatch(value) else answer

    def _d1(self, item: Item, completion: str) -> RewardBreakdown:
        tagged = last_tagged(completion)
        if tagged is None:
            return _graded(0.0, None)
        answer = tagged.strip()
        return _graded(1.0 if d1_right(answer, item.meta) else WRONG, answer)

    def judge(self, batch: Sequence[tuple[Item, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`reward` says of many pairs, many times faster."""
        d1 = self.profile == "d1"
        total, rows, answers, items = np.zeros(len(batch)), [], [], []
        for row, (item, completion) in enumerate(batch):
            if len(completion) > MAX_COMPLETION:
                continue
            answer = last_tagged(completion) if d1 else self._answer(completion)
            if answer is not None:
                rows.append(row)
                answers.append(answer.strip())
                items.append(item.meta)
        if rows:
            grades = grade(answers, items, NEAR if d1 else 0.0)
            values = np.where(grades == RIGHT, 1.0, WRONG)
            if d1:
                for k in np.flatnonzero((grades == DOUBTFUL) | (grades == UNREAD)):
                    values[k] = 1.0 if d1_right(answers[k], items[k]) else WRONG
            else:
                values[grades == UNREAD] = 0.0
            total[rows] = values
        return total, total == 1.0


def d1_right(answer: str, meta: Any) -> bool:
    """Return whether an answer is right by the published reward: numbers first, then the value."""
    wanted = sorted(meta["numbers"])
    found = itertools.islice(_DIGITS.finditer(answer), len(wanted) + 1)
    try:
        numbers = sorted(int(digits[0]) for digits in found)
    except ValueError:  # more digits than Python converts
        return False
    if numbers != wanted:
        return False
    value = python_values.evaluate(answer)
    try:
        return value is not None and abs(value - meta["target"]) < NEAR
    except OverflowError:
        return False


def _graded(total: float, parsed: str | None) -> RewardBreakdown:
    return RewardBreakdown(total, {"answer": total}, parsed, total == 1.0)


def _random_expression(rng: np.random.Generator, numbers: Sequence[int]) -> Valued:
    """Join two numbers at a time, at random, until one is left."""
    pool: list[Valued] = [(number, 1, ("n", number)) for number in numbers]
    while len(pool) > 1:
        i, j = (int(k) for k in rng.permutation(len(pool))[:2])
        a, b = pool[i], pool[j]
        pool = [pool[k] for k in range(len(pool)) if k not in (i, j)]
        kind = int(rng.integers(4))
        if kind == 3 and b[0] == 0:
            kind = 2
        joined = sum_of(a, b, 1 - 2 * kind) if kind < 2 else product_of(a, b, 5 - 2 * kind)
        pool.append(joined)
    return pool[0]
