"""Boxes with expressions: which one equals the target?"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.arithmetic_tree import body, printed, random_tree, value, wrong_statements
from envs.reasoning.parallel_task import NO_SCHEMA, ParallelTask, block_of, groups_of
from envs.reasoning.structure import Block, Schema
from envs.reasoning.task import Item

PER_ROUND = 2
"""Boxes that one step of an ``npr`` round opens."""


class BoxSearchTask(ParallelTask):
    """``n`` boxes of small expressions, exactly one of which equals the target modulo ``m``.

    There may be more boxes than a block may have branches: ``multiverse`` traces give each branch a
    group of boxes; ``npr`` traces open two boxes a step, three steps a round, until it is found.

    Args:
        low: Fewest boxes.
        high: Most boxes.
        operations: Most operations of an expression; the fewest is 1.
        modulus: Of every result.
        schema: See :class:`ParallelTask`.
        structure_weight: See :class:`ParallelTask`.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/box-search-v0"

    def __init__(
        self,
        low: int = 3,
        high: int = 12,
        operations: int = 2,
        modulus: int = 10,
        schema: str = NO_SCHEMA,
        structure_weight: float = 0.0,
        profile: str = "strict",
    ) -> None:
        super().__init__(schema, structure_weight, profile)
        self.low = check_integer(self.id, "low", low, 2, 24)
        self.high = check_integer(self.id, "high", high, self.low, 24)
        self.operations = check_integer(self.id, "operations", operations, 1, 8)
        self.modulus = check_integer(self.id, "modulus", modulus, 10, 100_000)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return boxes of any split."""
        n, m = int(rng.integers(self.low, self.high + 1)), self.modulus
        right = int(rng.integers(n))
        trees = [random_tree(rng, int(rng.integers(1, self.operations + 1))) for _ in range(n)]
        target = value(trees[right], m)
        for k in range(n):
            while k != right and value(trees[k], m) == target:
                trees[k] = random_tree(rng, int(rng.integers(1, self.operations + 1)))
        expressions = [printed(tree) for tree in trees]
        listed = "\n".join(f"box {k}: {text}" for k, text in enumerate(expressions, 1))
        prompt = f"Modulo {m}, which box equals {target}? Answer with its number.\n{listed}"
        meta = {
            "expressions": expressions,
            "bodies": [body(tree, m) for tree in trees],
            "values": [value(tree, m) for tree in trees],
            "target": target,
            "modulus": m,
        }
        return Item(prompt, str(right + 1), meta)

    def canonical(self, item: Item) -> str:
        """Return modulus, target and sorted expressions."""
        meta = item.meta
        return f"box-search {meta['modulus']} {meta['target']} {sorted(meta['expressions'])}"

    def serial(self, item: Item) -> str:
        """Return one line for each box, up to the right one."""
        told = [_opened(item.meta, k) for k in range(int(item.answer))]
        return "\n".join(told) + "\n" + self.stated(item.answer, None)

    def rounds(self, item: Item, schema: Schema) -> list[str | Block]:
        """Return one block over groups of boxes, or rounds until the box is found."""
        n = len(item.meta["expressions"])
        if schema.max_depth > 1:
            return [_opening(item.meta, groups_of(n, schema.max_branches))]
        blocks: list[str | Block] = []
        size = PER_ROUND * min(3, schema.max_branches)
        for first in range(0, int(item.answer), size):
            boxes = range(first, min(first + size, n))
            runs = [list(boxes[k : k + PER_ROUND]) for k in range(0, len(boxes), PER_ROUND)]
            blocks.append(_opening(item.meta, runs))
        return blocks

    def wrong_steps(self, completion: str) -> list[str]:
        """Return the ``a+b=c`` statements that are wrong."""
        return wrong_statements(completion, self.modulus)


def _opened(meta: Any, k: int) -> str:
    verdict = "yes" if meta["values"][k] == meta["target"] else "no"
    return f"box {k + 1}: {meta['bodies'][k]} {verdict}"


def _opening(meta: Any, runs: list[list[int]]) -> Block:
    """Return the block whose branches each open a run of boxes."""
    plans = [" ".join(f"box {k + 1}: {meta['expressions'][k]}" for k in run) for run in runs]
    bodies: list[list[str | Block]] = [[" ".join(_opened(meta, k) for k in run)] for run in runs]
    found = [k + 1 for run in runs for k in run if meta["values"][k] == meta["target"]]
    return block_of(plans, bodies, f"box {found[0]}" if found else "none of these")
