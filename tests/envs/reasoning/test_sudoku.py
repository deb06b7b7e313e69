"""Sudoku: an independent solver, uniform clues, rewards of both profiles, both backends."""

import sys

import numpy as np
import pytest

from envs.reasoning import SudokuTask
from envs.reasoning.sudoku import _DIGIT
from envs.reasoning.sudoku_rules import as_cells, as_text, symmetric_grids, units, valid
from envs.reasoning.sudoku_solver import SudokuSolver

GRID = "1234341221434321"
CLUES = "0234341221434320"


def exact_cover(cells, box, limit=2):  # noqa: C901 - the algorithm in one piece
    """Count solutions by Knuth's algorithm X on sets: shares nothing with the solver under test."""
    size = box * box
    rows = {}
    for cell in range(size * size):
        r, c = divmod(cell, size)
        for digit in range(1, size + 1):
            b = r // box * box + c // box
            rows[cell, digit] = [("c", cell), ("r", r, digit), ("k", c, digit), ("b", b, digit)]
    columns = {}
    for row, wants in rows.items():
        for want in wants:
            columns.setdefault(want, set()).add(row)

    def select(row):
        taken = []
        for want in rows[row]:
            for other in columns[want]:
                for w in rows[other]:
                    if w != want:
                        columns[w].discard(other)
            taken.append(columns.pop(want))
        return taken

    def deselect(row, taken):
        for want in reversed(rows[row]):
            columns[want] = taken.pop()
            for other in columns[want]:
                for w in rows[other]:
                    if w != want:
                        columns[w].add(other)

    def count(left):
        if not columns:
            return 1
        want = min(columns, key=lambda w: len(columns[w]))
        found = 0
        for row in list(columns[want]):
            taken = select(row)
            found += count(left - found)
            deselect(row, taken)
            if found >= left:
                break
        return found

    for cell, digit in enumerate(cells):
        if digit:
            if any(want not in columns for want in rows[cell, digit]):
                return 0
            select((cell, digit))
    return count(limit)


@pytest.mark.parametrize(("size", "hidden", "n"), [(4, 8, 40), (4, 10, 10), (9, 40, 6), (9, 52, 3)])
def test_generated_puzzles_have_one_solution(size, hidden, n):
    task, rng = SudokuTask(size, hidden, backend="python"), np.random.default_rng(0)
    for _ in range(n):
        item = task.draw(rng)
        clues, solution = item.meta["clues"], item.meta["solution"]
        assert clues.count("0") == hidden
        assert all(c in ("0", s) for c, s in zip(clues, solution, strict=True))
        assert valid(as_cells(solution)[None], task.box)[0]
        assert exact_cover(as_cells(clues).tolist(), task.box) == 1
        assert as_text(task.solver.solve(as_cells(clues))) == solution


def test_solutions_are_counted():
    solver, rng = SudokuSolver(2), np.random.default_rng(0)
    counts = []
    for _ in range(60):
        cells = solver.full(rng)
        cells[rng.permutation(16)[: rng.integers(6, 13)]] = 0
        counts.append(solver.count(cells, 5))
        assert counts[-1] == exact_cover(cells.tolist(), 2, 5)
    assert {1, 2, 5} <= set(counts)
    assert solver.count(np.zeros(16, np.int8), 1000) == 288
    assert solver.count(as_cells("11" + "0" * 14)) == 0
    assert solver.solve(as_cells("1230" + "0004" + "0" * 8)) is None


def test_backends_give_the_same_puzzles():
    pytest.importorskip("numba")
    for size, hidden in ((4, 8), (9, 45)):
        drawn = []
        for backend in ("python", "numba"):
            task, rng = SudokuTask(size, hidden, backend=backend), np.random.default_rng(3)
            drawn.append([task.draw(rng) for _ in range(8)])
        assert drawn[0] == drawn[1]


def chi_square(n, seed):
    """How unevenly clues lie over the cells, and digits over the grid; 80 and 8 are expected."""
    task, rng = SudokuTask(9, 40), np.random.default_rng(seed)
    items = [task.draw(rng) for _ in range(n)]
    given = np.array([as_cells(item.meta["clues"]) > 0 for item in items])
    expected = n * 41 / 81
    # Without replacement the variance of a cell's count is smaller by 40/80.
    clues = ((given.sum(0) - expected) ** 2 / (expected * 40 / 81) * 80 / 81).sum()
    first = np.bincount([int(item.answer[0]) for item in items], minlength=10)[1:]
    return clues, ((first - n / 9) ** 2 / (n / 9)).sum()


def test_clues_lie_evenly_over_the_cells():
    pytest.importorskip("numba")
    clues, digits = chi_square(1500, 0)
    assert 45 < clues < 128  # one in a thousand lies outside
    assert digits < 26


@pytest.mark.parametrize("box", [2, 3])
def test_symmetric_grids_are_valid_and_vary(box):
    grids = symmetric_grids(np.random.default_rng(0), 300, box)
    assert grids.dtype == np.uint8
    assert valid(grids, box).all()
    assert len({g.tobytes() for g in grids}) == 300 if box == 3 else True
    counts = np.array([np.bincount(grids[:, 0], minlength=10)[1 : box * box + 1]])
    assert counts.min() > 300 / box**2 / 2


def test_validity_is_by_units():
    solver, rng = SudokuSolver(3), np.random.default_rng(0)
    grids = np.array([solver.full(rng) for _ in range(20)])
    assert valid(grids, 3).all()
    for k, grid in enumerate(grids):
        one, other = rng.permutation(81)[:2]
        grid[one], grid[other] = grid[other], grid[one]
        slow = all(len(set(grid[unit].tolist())) == 9 for unit in units(3))
        assert valid(grids[k : k + 1], 3)[0] == slow
    bad = np.tile(as_cells(GRID), (3, 1))
    bad[0, 0], bad[1, 3], bad[2, 5] = 0, 5, -1
    assert not valid(bad, 2).any()


@pytest.fixture(params=["strict", "d1"])
def task(request):
    return SudokuTask(4, profile=request.param, backend="python")


CASES = [  # answer, strict, d1
    (GRID, 1.0, 1.0),
    ("1234\n3412\n2143\n4321", 1.0, 1.0),
    ("|1 2|3 4|\n+---+\n|3 4|1 2|\n|2 1|4 3|\n|4 3|2 1|", 1.0, 1.0),
    ("2234341221434321", 0.5, 0.5),
    (CLUES, 0.0, 0.0),
    ("1234341221434322", 0.5, 0.5),
    ("1334341221434321", 0.0, 1.0),
    ("12343412214343", 0.0, 0.5),
    (GRID + "9", 0.0, 1.0),
    ("the grid is " + GRID, 0.0, 1.0),
    ("", 0.0, 0.0),
    ("\u0661234341221434321", 0.0, 0.5),
    ("123434122143432\u00b9", 0.0, 0.5),
    ("1234341221434325", 0.0, 0.5),
]


def test_rewards(task):
    item = task.item(CLUES, GRID)
    assert item.meta["unique"]
    texts = [f"<answer>{answer}</answer>" for answer, *_ in CASES]
    texts += [GRID, f"<answer>{GRID}", f"</answer>{GRID}<answer>", "<answer>" + "0" * 70_000]
    wanted = [case[1 if task.profile == "strict" else 2] for case in CASES] + [0.0] * 4
    found = [task.reward(item, text) for text in texts]
    assert [one.total for one in found] == wanted
    assert [one.ok for one in found] == [total == 1.0 for total in wanted]
    totals, right = task.judge([(item, text) for text in texts])
    assert totals.tolist() == wanted
    assert right.tolist() == [total == 1.0 for total in wanted]


def test_any_solution_counts_but_for_the_reference_match():
    clues = "1234341200000000"
    free = SudokuTask(4, backend="python")
    fixed = SudokuTask(4, match="reference", backend="python")
    item = free.item(clues, "1234341221434321")
    other = "<answer>1234341243212143</answer>"
    assert not item.meta["unique"]
    for task, wanted in ((free, 1.0), (fixed, 0.0)):
        assert task.reward(item, other).total == wanted
        assert task.rewards([(item, other)])[0] == wanted
        assert task.reward(item, task.reference(item)).total == 1.0
    # No share of a reference that is one of several.
    assert free.reward(item, "<answer>1234341221434322</answer>").total == 0.0
    strict = SudokuTask(4, partial=False, backend="python")
    assert strict.reward(strict.item(CLUES, GRID), "<answer>2234341221434321</answer>").total == 0


def test_splits_share_no_grid():
    task, rng = SudokuTask(4, backend="python"), np.random.default_rng(0)
    grids = {s: {task.sample(rng, s).answer for _ in range(150)} for s in ("train", "test")}
    assert not grids["train"] & grids["test"]
    assert len(grids["train"]) > 80
    assert 15 < len(grids["test"]) < 45


def test_bad_puzzles_and_arguments_are_named():
    task = SudokuTask(4, backend="python")
    for clues in ("0" * 15, "5" + "0" * 15, "x" * 16, "11" + "0" * 14):
        with pytest.raises(ValueError, match=r"^reasoning/sudoku4-v0: no "):
            task.item(clues)
    for wrong in ({"size": 5}, {"size": 9, "n_hidden": 60}, {"backend": "torch"}, {"partial": 1}):
        with pytest.raises(ValueError, match=f"^reasoning/sudoku.*{list(wrong)[-1]}"):
            SudokuTask(**wrong)


def test_digits_are_those_of_isdigit():
    characters = "".join(map(chr, range(sys.maxunicode + 1)))
    assert _DIGIT.findall(characters) == [c for c in characters if c.isdigit()]
