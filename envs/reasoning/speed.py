"""How fast items are made and completions scored; ``python -m envs.reasoning.speed`` prints it.

One core, in CPU seconds of this process. Half of the completions are right, the others are those of
another item (Countdown) or have one wrong digit (Sudoku); no two items are the same object.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from envs.reasoning.countdown import CountdownTask
from envs.reasoning.gsm8k import GSM8KTask
from envs.reasoning.sudoku import SudokuTask
from envs.reasoning.task import Item, Task


def per_second(function: Callable[[], Any], n: int, repeats: int = 5) -> float:
    """Return ``n`` over the least CPU time of some calls, the first of which does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return n / min(seconds)


def batch_of(task: Task, n: int, seed: int = 0) -> list[tuple[Item, str]]:
    """Return ``n`` items with completions, every other one right."""
    rng = np.random.default_rng(seed)
    items = [task.draw(rng) for _ in range(n)]
    texts = [task.reference(item) for item in items]
    wrong = [_spoiled(item, texts[k - 1]) for k, item in enumerate(items)]
    return [(item, (texts if k % 2 else wrong)[k]) for k, item in enumerate(items)]


def _spoiled(item: Item, neighbour: str) -> str:
    if "clues" not in item.meta:
        return neighbour
    cell = item.meta["clues"].index("0")
    digit = str(int(item.answer[cell]) % math.isqrt(len(item.answer)) + 1)
    return f"<answer>{item.answer[:cell]}{digit}{item.answer[cell + 1 :]}</answer>"


def _draw(task: Task, rng: np.random.Generator, n: int) -> list[Item]:
    return [task.draw(rng) for _ in range(n)]


def rates(n: int = 10_000) -> dict[str, float]:
    """Return rewards and items per second by name.

    Args:
        n: Completions in a batch.
    """
    found: dict[str, float] = {}
    for name, task in (
        ("countdown n=3 strict", CountdownTask(3)),
        ("countdown n=3 d1", CountdownTask(3, profile="d1")),
        ("countdown n=4 strict", CountdownTask(4)),
        ("sudoku 9x9 strict", SudokuTask(9)),
        ("gsm8k strict", GSM8KTask()),
        ("gsm8k d1", GSM8KTask(profile="d1")),
    ):
        batch = batch_of(task, n)
        found[f"rewards/s, {name}"] = per_second(partial(task.rewards, batch), n)
    for hidden in (40, 50):
        sudoku = SudokuTask(9, hidden)
        drawn = partial(_draw, sudoku, np.random.default_rng(1), n // 20)
        name = f"9x9 puzzles/s, {hidden} hidden, {sudoku.solver.backend}"
        found[name] = per_second(drawn, n // 20)
    return found


if __name__ == "__main__":
    rounded = {name: round(rate) for name, rate in rates().items()}
    sys.stdout.write(json.dumps(rounded, indent=2) + "\n")
