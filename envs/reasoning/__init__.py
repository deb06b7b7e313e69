"""Reasoning tasks whose answers a program verifies.

Tasks are plain classes (``CountdownTask(n=3).reward(item, completion)``) and one-step Gymnasium
environments (``reasoning/countdown-v0``). Importing this package imports none of them: each name is
loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.reasoning.box_search import BoxSearchTask
    from envs.reasoning.chain_sum import ChainSumTask
    from envs.reasoning.code import CodeTask
    from envs.reasoning.countdown import CountdownTask
    from envs.reasoning.expr_set import ExprSetTask
    from envs.reasoning.expr_tree import ExprTreeTask
    from envs.reasoning.gsm8k import GSM8KTask
    from envs.reasoning.maths_task import MathsTask
    from envs.reasoning.sandbox import Sandbox
    from envs.reasoning.sudoku import SudokuTask
    from envs.reasoning.task import Item, RewardBreakdown, Task

__all__ = [
    "BoxSearchTask",
    "ChainSumTask",
    "CodeTask",
    "CountdownTask",
    "ExprSetTask",
    "ExprTreeTask",
    "GSM8KTask",
    "Item",
    "MathsTask",
    "RewardBreakdown",
    "Sandbox",
    "SudokuTask",
    "Task",
]

_MODULES = {
    "BoxSearchTask": "box_search",
    "ChainSumTask": "chain_sum",
    "CodeTask": "code",
    "CountdownTask": "countdown",
    "ExprSetTask": "expr_set",
    "ExprTreeTask": "expr_tree",
    "GSM8KTask": "gsm8k",
    "Item": "task",
    "MathsTask": "maths_task",
    "RewardBreakdown": "task",
    "Sandbox": "sandbox",
    "SudokuTask": "sudoku",
    "Task": "task",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
