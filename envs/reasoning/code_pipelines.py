"""Small programs on lists of integers: stages in a row, described in words and known as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = list[int]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, with a parameter ``k``.

    Attributes:
        words: Description with ``{k}``.
        code: Python expression of ``x`` with ``{k}``.
        apply: The same as a function of the list and ``k``.
    """

    words: str
    code: str
    apply: Callable[[Numbers, int], Any]


STAGES = (
    Stage(
        "keep only the numbers divisible by {k}",
        "[v for v in x if v % {k} == 0]",
        lambda x, k: [v for v in x if v % k == 0],
    ),
    Stage(
        "drop every number divisible by {k}",
        "[v for v in x if v % {k}]",
        lambda x, k: [v for v in x if v % k],
    ),
    Stage("multiply every number by {k}", "[v * {k} for v in x]", lambda x, k: [v * k for v in x]),
    Stage(
        "subtract {k} from every number", "[v - {k} for v in x]", lambda x, k: [v - k for v in x]
    ),
    Stage(
        "move the first {k} numbers to the end (all of them if there are fewer)",
        "x[{k}:] + x[:{k}]",
        lambda x, k: x[k:] + x[:k],
    ),
    Stage("keep every {k}th number, starting with the first", "x[::{k}]", lambda x, k: x[::k]),
    Stage(
        "replace every number by its sum with the one {k} places after it, dropping the last {k}",
        "[a + b for a, b in zip(x, x[{k}:])]",
        lambda x, k: [a + b for a, b in zip(x, x[k:], strict=False)],
    ),
    Stage(
        "remove duplicates, sort in falling order and keep the first {k}",
        "sorted(set(x), reverse=True)[:{k}]",
        lambda x, k: sorted(set(x), reverse=True)[:k],
    ),
)
ENDINGS = (
    Stage("return their sum plus {k}", "sum(x) + {k}", lambda x, k: sum(x) + k),
    Stage(
        "return how many are greater than {k}",
        "sum(v > {k} for v in x)",
        lambda x, k: sum(v > k for v in x),
    ),
    Stage(
        "return them cut into lists of {k}, the last one shorter if need be",
        "[x[i:i + {k}] for i in range(0, len(x), {k})]",
        lambda x, k: [x[i : i + k] for i in range(0, len(x), k)],
    ),
    Stage(
        "return the remainder of the largest divided by {k}, or -1 if there are none",
        "max(x) % {k} if x else -1",
        lambda x, k: max(x) % k if x else -1,
    ),
    Stage(
        "return the list of their remainders divided by {k}",
        "[v % {k} for v in x]",
        lambda x, k: [v % k for v in x],
    ),
)

Plan = list[tuple[int, int]]
"""Index of each stage and its parameter; the last one is an ending."""


def random_plan(rng: np.random.Generator, stages: int) -> Plan:
    """Return a random plan of ``stages`` stages and an ending."""
    plan = [(int(rng.integers(len(STAGES))), int(rng.integers(2, 8))) for _ in range(stages)]
    return [*plan, (int(rng.integers(len(ENDINGS))), int(rng.integers(2, 8)))]


def _parts(plan: Plan) -> list[tuple[Stage, int]]:
    *stages, (last, k) = plan
    return [*((STAGES[index], own) for index, own in stages), (ENDINGS[last], k)]


def described(plan: Plan) -> str:
    """Return the plan in words, a numbered line each."""
    parts = [stage.words.format(k=k) for stage, k in _parts(plan)]
    return "\n".join(f"{n}. {words}" for n, words in enumerate(parts, 1))


def source(plan: Plan, name: str) -> str:
    """Return a Python function that does it."""
    *stages, (ending, k) = _parts(plan)
    lines = [f"    x = {stage.code.format(k=own)}" for stage, own in stages]
    return "\n".join([f"def {name}(x):", *lines, f"    return {ending.code.format(k=k)}"]) + "\n"


def result(plan: Plan, numbers: Numbers) -> Any:
    """Return what the plan makes of a list."""
    value: Any = list(numbers)
    for stage, k in _parts(plan):
        value = stage.apply(value, k)
    return value
