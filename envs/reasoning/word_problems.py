"""Arithmetic word problems from a grammar of stories; the program behind each is kept.

A story follows one stock of things through 2 to 6 operations. Every quantity in a sentence belongs
to the program, save those of a distractor, which speak of something else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NAMES = (
    "Ada", "Ben", "Carla", "Dario", "Elif", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena",
    "Mila", "Nils", "Olga", "Paulo", "Quinn", "Rosa", "Sami", "Tara", "Umut", "Vera", "Wanda",
    "Yusuf", "Zoe",
)  # fmt: skip
THINGS = (
    "apples", "marbles", "stickers", "pencils", "seashells", "postcards", "buttons", "cookies",
    "stamps", "beads", "tickets", "books", "candles", "eggs", "lemons", "badges",
)  # fmt: skip
OTHERS = ("crayons", "pebbles", "ribbons", "walnuts", "feathers", "coins")
PLACES = ("at the market", "in the attic", "at school", "by the lake", "in the garden", "at a fair")
DAYS = ("On Monday", "On Tuesday", "In the evening", "A day later", "The next week", "After lunch")


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem.

    Attributes:
        text: The story and the question.
        answer: The answer.
        program: Steps ``left op right = result`` that lead to it, one each.
        steps: Difficulty: how many there are.
    """

    text: str
    answer: int
    program: tuple[str, ...]
    steps: int


@dataclass(frozen=True, slots=True)
class _Teller:
    rng: np.random.Generator
    name: str
    friend: str
    thing: str

    def pick(self, words: tuple[str, ...]) -> str:
        return words[int(self.rng.integers(len(words)))]

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


_Move = Callable[[_Teller, int], "tuple[str, str, int] | None"]
"""Returns sentence, operation (``+ 3``) and the new stock, or None where it does not fit."""


def _gain(t: _Teller, stock: int) -> tuple[str, str, int] | None:
    n = t.number(2, 40)
    how = (
        f"finds {n} more {t.thing}",
        f"buys another {n} {t.thing}",
        f"is given {n} {t.thing} by {t.friend}",
    )
    return f"{t.pick(DAYS)}, {t.name} {t.pick(how)}.", f"+ {n}", stock + n


def _loss(t: _Teller, stock: int) -> tuple[str, str, int] | None:
    if stock < 4:
        return None
    n = t.number(1, min(stock - 2, 60))
    how = (
        f"gives {n} of the {t.thing} to {t.friend}",
        f"loses {n} {t.thing}",
        f"sells {n} of the {t.thing}",
    )
    return f"{t.pick(DAYS)}, {t.name} {t.pick(how)}.", f"- {n}", stock - n


def _times(t: _Teller, stock: int) -> tuple[str, str, int] | None:
    n = t.number(2, 5)
    if stock * n > 2_000:
        return None
    word = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}[n]
    text = f"{t.pick(DAYS)}, {t.name} trades with {t.friend} and ends up with {word} as many."
    return text, f"* {n}", stock * n


def _share(t: _Teller, stock: int) -> tuple[str, str, int] | None:
    divisors = [n for n in range(2, 9) if stock % n == 0 and stock // n > 1]
    if not divisors:
        return None
    n = divisors[int(t.rng.integers(len(divisors)))]
    text = (
        f"{t.pick(DAYS)}, {t.name} divides the {t.thing} equally into {n} bags and keeps only one "
        "bag."
    )
    return text, f"/ {n}", stock // n


def _boxes(t: _Teller, stock: int) -> tuple[str, str, int] | None:
    n, each = t.number(2, 9), t.number(2, 12)
    text = f"{t.pick(DAYS)}, {n} boxes with {each} {t.thing} in each arrive for {t.name}."
    return text, f"+ {n} * {each}", stock + n * each


_MOVES: tuple[tuple[_Move, int], ...] = (
    (_gain, 1),
    (_loss, 1),
    (_times, 1),
    (_share, 1),
    (_boxes, 2),
)


def make(rng: np.random.Generator, steps: int, distractors: bool = True) -> Problem:
    """Return a random problem.

    Args:
        rng: Generator.
        steps: How many operations.
        distractors: Whether a sentence about something else may be put in.
    """
    one, two = (int(k) for k in rng.permutation(len(NAMES))[:2])
    thing = THINGS[int(rng.integers(len(THINGS)))]
    teller = _Teller(rng, NAMES[one], NAMES[two], thing)
    stock = teller.number(3, 60)
    story = [f"{teller.name} has {stock} {teller.thing} {teller.pick(PLACES)}."]
    program: list[str] = []
    while len(program) < steps:
        move, length = _MOVES[int(rng.integers(len(_MOVES)))]
        told = move(teller, stock) if len(program) + length <= steps else None
        if told is not None:
            sentence, operation, after = told
            story.append(sentence)
            program += _steps(stock, operation, after)
            stock = after
    if distractors and rng.random() < 0.5:
        n = teller.number(2, 50)
        aside = f"{teller.friend} owns {n} {teller.pick(OTHERS)}."
        story.insert(int(rng.integers(1, len(story) + 1)), aside)
    story.append(f"How many {teller.thing} does {teller.name} have now?")
    return Problem(" ".join(story), stock, tuple(program), steps)


def _steps(stock: int, operation: str, after: int) -> list[str]:
    sign, first, *product = operation.split()
    if not product:
        return [f"{stock} {sign} {first} = {after}"]
    whole = int(first) * int(product[1])
    return [f"{first} * {product[1]} = {whole}", f"{stock} {sign} {whole} = {after}"]
