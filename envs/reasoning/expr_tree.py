"""A balanced expression tree: its halves do not depend on each other, nor do theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.arithmetic_tree import (
    Tree,
    balanced_tree,
    printed,
    steps,
    value,
    wrong_statements,
)
from envs.reasoning.parallel_task import NO_SCHEMA, ParallelTask, block_of
from envs.reasoning.structure import Block, Schema
from envs.reasoning.task import Item


class ExprTreeTask(ParallelTask):
    """Evaluate a balanced tree of ``2**depth`` digits modulo ``m``.

    In ``multiverse`` traces the halves of every subtree are branches of a nested block; in ``npr``
    traces, which do not nest, each level is worked off in rounds from below.

    Args:
        depth: Of the tree.
        modulus: Of every result.
        schema: See :class:`ParallelTask`.
        structure_weight: See :class:`ParallelTask`.
        profile: ``strict``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/expr-tree-v0"

    def __init__(
        self,
        depth: int = 3,
        modulus: int = 10,
        schema: str = NO_SCHEMA,
        structure_weight: float = 0.0,
        profile: str = "strict",
    ) -> None:
        super().__init__(schema, structure_weight, profile)
        self.depth = check_integer(self.id, "depth", depth, 2, 5)
        self.modulus = check_integer(self.id, "modulus", modulus, 10, 100_000)

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a tree of any split."""
        tree = balanced_tree(rng, self.depth)
        meta = {"tree": as_lists(tree), "modulus": self.modulus}
        prompt = f"Modulo {self.modulus}, evaluate {printed(tree)}"
        return Item(prompt, str(value(tree, self.modulus)), meta)

    def canonical(self, item: Item) -> str:
        """Return modulus and expression."""
        return f"expr-tree {item.prompt}"

    def serial(self, item: Item) -> str:
        """Return one operation after the other, operands first."""
        told = steps(from_lists(item.meta["tree"]), item.meta["modulus"])
        return "\n".join(told) + "\n" + self.stated(item.answer, None)

    def rounds(self, item: Item, schema: Schema) -> list[str | Block]:
        """Return nested blocks, or one round of blocks after the other where none may nest."""
        tree, modulus = from_lists(item.meta["tree"]), item.meta["modulus"]
        if schema.max_depth > 1:
            return [_nested(tree, modulus, "", schema.max_depth)]
        return [*_levels(tree, modulus, schema.max_branches)]

    def wrong_steps(self, completion: str) -> list[str]:
        """Return the ``a+b=c`` statements that are wrong."""
        return wrong_statements(completion, self.modulus)


def _nested(tree: Tree, modulus: int, prefix: str, deeper: int) -> Block:
    """Return the block whose two branches evaluate the operands of a tree."""
    assert tree.operands is not None
    bodies: list[list[str | Block]] = []
    for k, operand in enumerate(tree.operands, 1):
        inner = operand.operands
        if inner is None or inner[0].operands is None or deeper == 1:
            bodies.append([";".join(steps(operand, modulus))])
        else:
            bodies.append([_nested(operand, modulus, f"{prefix}{k}.", deeper - 1)])
    join = steps(tree, modulus)[-1]
    return block_of([printed(operand) for operand in tree.operands], bodies, join, prefix)


def _levels(tree: Tree, modulus: int, most: int) -> list[Block]:
    """Return blocks that work off a tree from its lowest operations upwards."""
    level, levels = [tree], [[tree]]
    while level[0].operands is not None and level[0].operands[0].operands is not None:
        level = [operand for node in level for operand in node.operands or ()]
        levels.append(level)
    blocks = []
    for nodes in reversed(levels):
        for first in range(0, len(nodes), most):
            told = [steps(node, modulus)[-1] for node in nodes[first : first + most]]
            plans = [statement.partition("=")[0] for statement in told]
            values = " ".join(statement.partition("=")[2] for statement in told)
            blocks.append(block_of(plans, [[statement] for statement in told], values))
    return blocks


def as_lists(tree: Tree) -> Any:
    """Return a tree as ``[sign, left, right]`` and numbers."""
    if tree.operands is None:
        return tree.number
    return [tree.sign, *map(as_lists, tree.operands)]


def from_lists(nested: Any) -> Tree:
    """Return the tree that ``as_lists`` wrote."""
    if isinstance(nested, int):
        return Tree(number=nested)
    return Tree(nested[0], from_lists(nested[1]), from_lists(nested[2]))
