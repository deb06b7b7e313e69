"""Token data sets of generated problems: prompts with responses, or whole grids."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.errors import choices_text, nearest
from experiments.tokenize_text import Document, Splits
from rlcore.data.tokens.dataset import HELD_OUT, TRAIN
from rlcore.errors import ConfigError

TASKS = {
    "chain-sum": "envs.reasoning.chain_sum:ChainSumTask",
    "countdown": "envs.reasoning.countdown:CountdownTask",
    "expr-set": "envs.reasoning.expr_set:ExprSetTask",
    "expr-tree": "envs.reasoning.expr_tree:ExprTreeTask",
    "box-search": "envs.reasoning.box_search:BoxSearchTask",
}
GRIDS = {"sudoku4-grids": 2, "sudoku9-grids": 3}
"""Whole Sudoku grids without a prompt, by the side of a box."""


def task_documents(
    name: str, counts: dict[str, int], seed: int, kwargs: dict[str, Any] | None = None
) -> Splits:
    """Return problems of a task by split; no problem is in both.

    Args:
        name: See ``TASKS`` and ``GRIDS``.
        counts: Documents of each split.
        seed: Root of the random numbers.
        kwargs: Arguments of the task.

    Raises:
        ConfigError: There is no such task, or an argument is out of range.
    """
    if name in GRIDS:
        return {s: list(_grids(GRIDS[name], n, s, seed)) for s, n in counts.items()}
    if name not in TASKS:
        known = [*TASKS, *GRIDS]
        hint = nearest(name, known) or f"; there are {choices_text(known)}"
        raise ConfigError(f"no task '{name}'{hint}")
    module, _, cls = TASKS[name].partition(":")
    try:
        task = getattr(importlib.import_module(module), cls)(**(kwargs or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"task '{name}': {error}") from None
    return {s: list(_problems(task, n, s, seed)) for s, n in counts.items()}


_SPLIT_OF = {TRAIN: "train", HELD_OUT: "valid"}


def _problems(task: Any, count: int, split: str, seed: int) -> Iterator[Document]:
    rng = np.random.default_rng([seed, *split.encode()])
    response = getattr(task, "response", None)
    for _ in range(count):
        item = task.sample(rng, _SPLIT_OF[split])
        yield Document(response(rng, item) if response else task.reference(item), item.prompt)


def _grids(box: int, count: int, split: str, seed: int) -> Iterator[Document]:
    """Yield grids of a split of the Sudoku task; those of others are passed over."""
    from envs.reasoning.splits import split_of
    from envs.reasoning.sudoku_rules import as_text, symmetric_grids

    rng, found = np.random.default_rng([seed, *split.encode()]), 0
    while found < count:
        for grid in symmetric_grids(rng, 1024, box):
            text = as_text(grid)
            if split_of(f"sudoku {text}") == _SPLIT_OF[split] and found < count:
                found += 1
                yield Document(text)
