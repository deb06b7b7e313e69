"""Sums of a few digits, with or without running sums: the smallest task with two answer lengths."""

from __future__ import annotations

import re

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.arithmetic_tree import sum_steps, wrong_statements
from envs.reasoning.parallel_task import NO_SCHEMA, ParallelTask, block_of, groups_of
from envs.reasoning.structure import Block, Schema
from envs.reasoning.task import Item

SYMBOLS = "0123456789+=;#"
"""All characters of prompts and of serial responses."""

NO_MODULUS = 10**12
_FINAL = re.compile(r"#\s*([0-9]{1,18})\s*\Z")


class ChainSumTask(ParallelTask):
    """``3+5+2=``, answered by ``#10`` with or without ``3+5=8;8+2=10;`` before it.

    Training responses (:meth:`response`) are long or short at random, so that a model meets both
    lengths for the same kind of prompt.

    Args:
        low_terms: Fewest terms.
        high_terms: Most terms.
        largest: Largest term; the smallest is 1.
        schema: See :class:`ParallelTask`.
        structure_weight: See :class:`ParallelTask`.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/chain-sum-v0"

    def __init__(
        self,
        low_terms: int = 4,
        high_terms: int = 8,
        largest: int = 9,
        schema: str = NO_SCHEMA,
        structure_weight: float = 0.0,
        profile: str = "strict",
    ) -> None:
        super().__init__(schema, structure_weight, profile)
        self.low_terms = check_integer(self.id, "low_terms", low_terms, 2, 64)
        self.high_terms = check_integer(self.id, "high_terms", high_terms, self.low_terms, 64)
        self.largest = check_integer(self.id, "largest", largest, 1, 9_999)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a sum of any split."""
        n = int(rng.integers(self.low_terms, self.high_terms + 1))
        terms = [int(x) for x in rng.integers(1, self.largest + 1, n)]
        return Item("+".join(map(str, terms)) + "=", str(sum(terms)), {"terms": terms})

    def canonical(self, item: Item) -> str:
        """Return the terms in order."""
        return f"chain {item.prompt}"

    def serial(self, item: Item) -> str:
        """Return the running sums and the answer."""
        return f"{sum_steps(item.meta['terms'], NO_MODULUS)};#{item.answer}"

    def response(self, rng: np.random.Generator, item: Item) -> str:
        """Return the running sums and the answer, or in half of the cases the answer alone."""
        return self.serial(item) if rng.random() < 0.5 else f"#{item.answer}"

    def rounds(self, item: Item, schema: Schema) -> list[str | Block]:
        """Return one block: a branch sums a run of two terms or more."""
        terms = item.meta["terms"]
        parts = [
            [terms[k] for k in run]
            for run in groups_of(len(terms), min(schema.max_branches, max(len(terms) // 2, 1)))
        ]
        plans = ["+".join(map(str, part)) for part in parts]
        bodies: list[list[str | Block]] = [[sum_steps(part, NO_MODULUS)] for part in parts]
        join = sum_steps([sum(part) for part in parts], NO_MODULUS)
        return [block_of(plans, bodies, join)]

    def stated(self, answer: str, schema: Schema | None) -> str:
        """Return ``#10``."""
        return f"#{answer}"

    def read(self, completion: str) -> str | None:
        """Return the number behind the ``#`` that ends the completion."""
        found = _FINAL.search(completion[-64:])
        return found[1] if found else None

    def wrong_steps(self, completion: str) -> list[str]:
        """Return the ``a+b=c`` statements that are wrong."""
        return wrong_statements(completion, NO_MODULUS)
