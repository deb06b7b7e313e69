"""Independent expressions: reduce each, add the results."""

from __future__ import annotations

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.arithmetic_tree import (
    body,
    printed,
    random_tree,
    sum_steps,
    value,
    wrong_statements,
)
from envs.reasoning.parallel_task import NO_SCHEMA, ParallelTask, block_of
from envs.reasoning.structure import Block, Schema
from envs.reasoning.task import Item


class ExprSetTask(ParallelTask):
    """``k`` expressions modulo ``m``; the answer is the sum of their values modulo ``m``.

    Args:
        low: Fewest expressions.
        high: Most expressions.
        operations: Most operations of an expression; the fewest is 1.
        modulus: Of every result.
        schema: See :class:`ParallelTask`.
        structure_weight: See :class:`ParallelTask`.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/expr-set-v0"

    def __init__(
        self,
        low: int = 2,
        high: int = 6,
        operations: int = 3,
        modulus: int = 10,
        schema: str = NO_SCHEMA,
        structure_weight: float = 0.0,
        profile: str = "strict",
    ) -> None:
        super().__init__(schema, structure_weight, profile)
        self.low = check_integer(self.id, "low", low, 1, 6)
        self.high = check_integer(self.id, "high", high, self.low, 6)
        self.operations = check_integer(self.id, "operations", operations, 1, 8)
        self.modulus = check_integer(self.id, "modulus", modulus, 10, 100_000)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a set of any split."""
        k, m = int(rng.integers(self.low, self.high + 1)), self.modulus
        trees = [random_tree(rng, int(rng.integers(1, self.operations + 1))) for _ in range(k)]
        expressions = [printed(tree) for tree in trees]
        values = [value(tree, m) for tree in trees]
        listed = "\n".join(f"{n}: {text}" for n, text in enumerate(expressions, 1))
        prompt = f"Modulo {m}, evaluate each expression and add up the results.\n{listed}"
        meta = {
            "expressions": expressions,
            "bodies": [body(tree, m) for tree in trees],
            "values": values,
            "modulus": m,
        }
        return Item(prompt, str(sum(values) % m), meta)

    def canonical(self, item: Item) -> str:
        """Return modulus and sorted expressions."""
        return f"expr-set {item.meta['modulus']} {sorted(item.meta['expressions'])}"

    def serial(self, item: Item) -> str:
        """Return one line for each expression, then the sum."""
        lines = [f"{n}: {told}" for n, told in enumerate(item.meta["bodies"], 1)]
        lines.append(sum_steps(item.meta["values"], item.meta["modulus"]))
        return "\n".join(lines) + "\n" + self.stated(item.answer, None)

    def rounds(self, item: Item, schema: Schema) -> list[str | Block]:
        """Return one block: a branch for each expression."""
        meta = item.meta
        bodies: list[list[str | Block]] = [[told] for told in meta["bodies"]]
        return [block_of(meta["expressions"], bodies, sum_steps(meta["values"], meta["modulus"]))]

    def wrong_steps(self, completion: str) -> list[str]:
        """Return the ``a+b=c`` statements that are wrong."""
        return wrong_statements(completion, self.modulus)
