"""Programming tasks: write a function, verified by its results on inputs that only we know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.answers import innermost
from envs.reasoning.code_pipelines import described, random_plan, result, source
from envs.reasoning.sandbox import Limits, Sandbox
from envs.reasoning.task import MAX_COMPLETION, Item, RewardBreakdown, Task

ENTRY = "solve"

_LANGUAGE = re.compile(r"(?:python|py)?[ \t]*\n")


class CodeTask(Task):
    """Write a Python function ``solve(x)`` that does some stages on a list of integers.

    The completion's code (the last fenced block, or else the answer tag's content) runs in a
    sandbox that is given the inputs. What comes out is compared here, outside: the expected results
    are never in the child, so that nothing it prints, patches or exits with can earn a reward.
    1 if every result is right, else 0.

    Args:
        stages: Stages before the last.
        tests: Hidden inputs.
        isolation: See :mod:`envs.reasoning.sandbox`.
        limits: Of one run.
        workers: Runs at a time in :meth:`judge`.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/code"

    def __init__(
        self,
        stages: int = 2,
        tests: int = 8,
        isolation: str = "namespaces",
        limits: Limits | None = None,
        workers: int = 2,
        profile: str = "strict",
    ) -> None:
        super().__init__(profile)
        self.stages = check_integer(self.id, "stages", stages, 1, 5)
        self.tests = check_integer(self.id, "tests", tests, 2, 100)
        self.workers = check_integer(self.id, "workers", workers, 1, 64)
        self.sandbox = Sandbox(isolation, limits)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a task of any split, whose results differ from each other."""
        while True:
            plan = random_plan(rng, self.stages)
            inputs = [[int(v) for v in rng.integers(-20, 60, n)] for n in _lengths(rng, self.tests)]
            expected = [result(plan, numbers) for numbers in inputs]
            if len({repr(value) for value in expected}) > 1:
                break
        prompt = (
            f"Write a Python function {ENTRY}(x) that takes a list of integers and does this:\n"
            f"{described(plan)}\nPut the code into a ```python block."
        )
        meta = {"plan": plan, "inputs": inputs, "expected": expected}
        return Item(prompt, source(plan, ENTRY), meta)

    def canonical(self, item: Item) -> str:
        """Return the plan."""
        return f"code {[list(stage) for stage in item.meta['plan']]}"

    def reference(self, item: Item) -> str:
        """Return the function in a fenced block."""
        return f"```python\n{item.answer}```"

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return 1 if all results are right; see the class."""
        code = code_of(completion)
        if code is None:
            return RewardBreakdown(0.0, {"tests": 0.0}, None, False)
        inputs, expected = item.meta["inputs"], item.meta["expected"]
        claims, _ = self.sandbox.call(code, ENTRY, [[numbers] for numbers in inputs])
        right = sum(
            "value" in claim and same(claim["value"], value)
            for claim, value in zip(claims, expected, strict=False)
        )
        ok = right == len(expected)
        return RewardBreakdown(float(ok), {"tests": right / len(expected)}, code, ok)

    def judge(self, batch: Sequence[tuple[Item, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`reward` says, several runs at a time and none of them twice."""
        keys = [
            (id(item), code_of(text) if len(text) <= MAX_COMPLETION else None)
            for item, text in batch
        ]
        firsts = {key: row for row, key in reversed(list(enumerate(keys))) if key[1] is not None}
        with ThreadPoolExecutor(self.workers) as pool:
            scores = pool.map(lambda row: self.reward(*batch[row]).total, firsts.values())
            found = dict(zip(firsts, scores, strict=True))
        totals = np.array([found.get(key, 0.0) for key in keys], np.float64)
        return totals, totals == 1.0


def _lengths(rng: np.random.Generator, n: int) -> list[int]:
    """Return lengths of the hidden inputs; the first is empty."""
    return [0, *(int(length) for length in rng.integers(1, 16, n - 1))]


def code_of(completion: str) -> str | None:
    """Return the code in a completion: the last fenced block, or else the answer tag's content."""
    pieces = completion.split("```")
    blocks = pieces[1 : len(pieces) - 1 : 2]  # what follows a fence that never closes is none
    if not blocks:
        return innermost(completion)
    return _LANGUAGE.sub("", blocks[-1], count=1) if _LANGUAGE.match(blocks[-1]) else blocks[-1]


def same(claimed: Any, wanted: Any) -> bool:
    """Return whether two JSON values are the same, types included: neither 1.0 nor true is 1."""
    if type(claimed) is not type(wanted):
        return False
    if isinstance(wanted, list):
        return len(claimed) == len(wanted) and all(map(same, claimed, wanted))
    return bool(claimed == wanted)
