"""Sudoku, 4x4 and 9x9."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from envs.core.arguments import check_choice, check_integer
from envs.reasoning.answers import CLOSE, OPEN, innermost, last_tagged
from envs.reasoning.splits import SPLITS, split_of
from envs.reasoning.sudoku_rules import as_cells, as_text, valid
from envs.reasoning.sudoku_solver import BACKENDS, MAX_GRIDS, SudokuSolver, default_backend
from envs.reasoning.task import (
    MAX_COMPLETION,
    MAX_DRAWS,
    Item,
    RewardBreakdown,
    Task,
    check_flag,
)

LARGEST = {4: 10, 9: 55}
"""Most cells that may be hidden, by size of the grid."""
USUAL = {4: 8, 9: 40}
MATCHES = ("any_valid", "reference")

_DIGIT = re.compile(
    r"[\d\xb2\xb3\xb9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468"
    r"\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788"
    r"\u278a-\u2792\U00010a40-\U00010a43\U00010e60-\U00010e68\U00011052-\U0001105a"
    r"\U0001f100-\U0001f10a]"
)
"""The characters of ``str.isdigit``: decimals, and digits that are none, as superscripts are."""

_LAYOUT = " \t\r\n|-+,"


class SudokuTask(Task):
    """Sudoku puzzles with exactly one solution.

    The split of an item is that of its solution: no test grid is ever seen in training, whatever
    cells are hidden.

    Profile ``strict`` gives 1 for any completed grid that keeps the clues, and otherwise, if the
    puzzle has one solution and the answer has a digit for every cell and keeps the clues, the share
    of hidden cells that are right. White space and ``| - + ,`` in an answer are layout. Profile
    ``d1`` reads the digits in the last answer, fills them up with 0 or cuts them to the grid, and
    gives the share of hidden cells that equal *the* reference.

    Args:
        size: 4 or 9.
        n_hidden: Empty cells; None for 8 and 40.
        partial: Whether ``strict`` gives partial credit.
        match: ``any_valid``, or ``reference``: then ``strict`` accepts the one stored solution.
        backend: ``python``, ``numba`` or None for numba where it is installed.
        profile: ``strict`` or ``d1``.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "reasoning/sudoku-v0"
    profiles: ClassVar[tuple[str, ...]] = ("strict", "d1")

    def __init__(
        self,
        size: int = 9,
        n_hidden: int | None = None,
        partial: bool = True,
        match: str = "any_valid",
        backend: str | None = None,
        profile: str = "strict",
    ) -> None:
        if not isinstance(size, int) or size not in LARGEST:
            raise ValueError(f"{self.id}: size must be 4 or 9, got {size!r}")
        self.id = f"reasoning/sudoku{size}-v0"
        super().__init__(profile)
        hidden = USUAL[size] if n_hidden is None else n_hidden
        self.size, self.box = size, {4: 2, 9: 3}[size]
        self.n_hidden = check_integer(self.id, "n_hidden", hidden, 1, LARGEST[size])
        self.partial = check_flag(self.id, "partial", partial)
        self.match = check_choice(self.id, "match", match, MATCHES)
        name = default_backend() if backend is None else backend
        self.solver = SudokuSolver(self.box, check_choice(self.id, "backend", name, BACKENDS))

    def draw(self, rng: np.random.Generator) -> Item:
        """Return a puzzle of any split."""
        return self._dug(rng, self.solver.full(rng))

    def sample(self, rng: np.random.Generator, split: str = "train") -> Item:
        """Return a puzzle whose solution belongs to a split; see :meth:`Task.sample`."""
        check_choice(self.id, "split", split, SPLITS)
        for _ in range(MAX_DRAWS):
            grid = self.solver.full(rng)
            if split_of(_canonical(as_text(grid))) == split:
                return self._dug(rng, grid)
        raise RuntimeError(f"{self.id}: no grid of split {split} in {MAX_DRAWS} draws")

    def _dug(self, rng: np.random.Generator, grid: np.ndarray) -> Item:
        for _ in range(MAX_GRIDS):
            puzzle = self.solver.dug(rng, grid, self.n_hidden)
            if puzzle is not None:
                return self.item(as_text(puzzle), as_text(grid), unique=True)
        raise RuntimeError(
            f"{self.id}: n_hidden {self.n_hidden} not reached in {MAX_GRIDS} attempts on one grid"
        )

    def item(self, clues: str, solution: str | None = None, unique: bool | None = None) -> Item:
        """Return the item of a given puzzle.

        Args:
            clues: Digits row by row, 0 for empty.
            solution: The reference; None solves the puzzle.
            unique: Whether it is the only one; None finds out.

        Raises:
            ValueError: Not a puzzle of this size, or it has no solution.
        """
        if len(clues) != self.size**2 or not set(clues) <= set("0123456789"[: self.size + 1]):
            raise ValueError(f"{self.id}: no {self.size}x{self.size} puzzle: {clues!r:.90}")
        if solution is None:
            solved = self.solver.solve(as_cells(clues))
            if solved is None:
                raise ValueError(f"{self.id}: no solution: {clues}")
            solution = as_text(solved)
        if unique is None:
            unique = self.solver.count(as_cells(clues)) == 1
        prompt = (
            f"Solve the following Sudoku puzzle: {clues}\nIt is a {self.size}x{self.size} grid, "
            f"row by row, 0 for an empty cell. Put the {self.size**2} digits of the solution "
            "between <answer> and </answer>."
        )
        meta = {"clues": clues, "solution": solution, "unique": unique}
        return Item(prompt, solution, meta)

    def canonical(self, item: Item) -> str:
        """Return the solution."""
        return _canonical(item.meta["solution"])

    def reference(self, item: Item) -> str:
        """Return the solution between tags."""
        return f"<answer>{item.answer}</answer>"

    def score(self, item: Item, completion: str) -> RewardBreakdown:
        """Return the share or 1; see the class."""
        answer = self._d1_answer(completion) if self.profile == "d1" else _strict_answer(completion)
        if not answer:
            return RewardBreakdown(0.0, {"cells": 0.0}, None, False)
        if self.profile == "d1":
            total = self._d1_share(item, answer)
            return RewardBreakdown(total, {"cells": total}, answer, total == 1.0)
        total = self._strict_values([answer], [item])[0]
        return RewardBreakdown(float(total), {"cells": float(total)}, answer, total == 1.0)

    def _d1_answer(self, completion: str) -> str:
        digits = _DIGIT.finditer(last_tagged(completion) or "")
        return "".join(m[0] for m in islice(digits, self.size**2))  # more are not looked at

    def _d1_share(self, item: Item, answer: str) -> float:
        answer = answer[: self.size**2].ljust(self.size**2, "0")
        triples = zip(item.meta["clues"], item.meta["solution"], answer, strict=True)
        hits = [given == right for clue, right, given in triples if clue == "0"]
        return sum(hits) / len(hits) if hits else 0.0

    def _strict_values(self, answers: Sequence[str], items: Sequence[Item]) -> np.ndarray:
        """Return the rewards of ``n`` answers without layout as float64 ``[n]``."""
        wanted = self.size**2
        totals = np.zeros(len(answers))
        rows = [row for row, a in enumerate(answers) if len(a) == wanted and a.isascii()]
        if not rows:
            return totals
        given = _digits([answers[row] for row in rows], wanted)
        clues = _digits([items[row].meta["clues"] for row in rows], wanted)
        right = _digits([items[row].meta["solution"] for row in rows], wanted)
        hidden = clues == 0
        kept = ((given == clues) | hidden).all(1) & (given <= self.size).all(1)
        same = given == right
        full = same.all(1) if self.match == "reference" else valid(given, self.box)
        values = np.where(full, 1.0, 0.0)
        if self.partial:
            unique = np.array([bool(items[row].meta["unique"]) for row in rows])
            share = (same & hidden).sum(1) / np.maximum(hidden.sum(1), 1)
            values = np.where(full, 1.0, np.where(unique, share, 0.0))
        totals[rows] = np.where(kept, values, 0.0)
        return totals

    def judge(self, batch: Sequence[tuple[Item, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`reward` says of many pairs, many times faster."""
        if self.profile == "d1":
            return super().judge(batch)
        answers = []
        for _, text in batch:
            _, opening, answer = text.rpartition(CLOSE)[0].rpartition(OPEN)
            answers.append(answer if opening and len(text) <= MAX_COMPLETION else "")
        totals = np.array(
            [a == item.answer for a, (item, _) in zip(answers, batch, strict=True)], np.float64
        )
        rows = np.flatnonzero(totals == 0).tolist()
        others = [a if (a := answers[row]).isdigit() else _without_layout(a) for row in rows]
        totals[rows] = self._strict_values(others, [batch[row][0] for row in rows])
        return totals, totals == 1.0


def _canonical(solution: str) -> str:
    return f"sudoku {solution}"


def _strict_answer(completion: str) -> str | None:
    answer = innermost(completion)
    return None if answer is None else _without_layout(answer)


def _without_layout(answer: str) -> str:
    """Return what stands before a closing tag, without layout."""
    answer = answer.partition(CLOSE)[0].strip()
    for mark in _LAYOUT:  # many times faster than str.translate on text that is not ASCII
        answer = answer.replace(mark, "")
    return answer


def _digits(texts: Sequence[str], width: int) -> Any:
    """Return the characters of ASCII texts less "0", uint8 ``[n, width]``; no digit is above 9."""
    joined = np.frombuffer("".join(texts).encode("ascii"), np.uint8)
    return joined.reshape(len(texts), width) - np.uint8(48)
