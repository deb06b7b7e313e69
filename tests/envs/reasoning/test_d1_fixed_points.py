"""Numbers that the published d1 code gives on published completions; ours must give the same."""

import csv
import json

import pytest

from envs.reasoning import CountdownTask, GSM8KTask, SudokuTask
from envs.reasoning.d1_evaluation import countdown_right, gsm8k_number, sudoku_cells_right
from envs.reasoning.gsm8k_d1 import tag_count


@pytest.mark.parametrize(
    ("name", "items", "right", "reward", "tags"),
    [("countdown_128_64", 128, 30, 12.3, -18.927), ("countdown_256_128", 128, 28, 9.6, -48.478)],
)
def test_countdown(generations, name, items, right, reward, tags):
    task, rows = CountdownTask(profile="d1"), generations(name)
    batch = [(task.item(*row["ground_truth"]), row["generations"]) for row in rows]
    assert len(rows) == items
    assert task.rewards(batch).sum() == pytest.approx(reward, abs=1e-9)
    assert sum(task.reward(*pair).total for pair in batch) == pytest.approx(reward, abs=1e-9)
    found = sum(countdown_right(row["generations"], *row["ground_truth"]) for row in rows)
    assert found == right
    assert sum(tag_count(text) for _, text in batch) == pytest.approx(tags, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "cells", "reward", "tags"),
    [("sudoku_128_64", 113, 14.125, -16.770), ("sudoku_256_128", 74, 8.25, -47.867)],
)
def test_sudoku(generations, name, cells, reward, tags):
    task, rows = SudokuTask(4, profile="d1", backend="python"), generations(name)
    clues = [row["question"].split(": ")[1].strip() for row in rows]
    solutions = [row["ground_truth"] for row in rows]
    texts = [row["generations"] for row in rows]
    batch = [(task.item(c, s), t) for c, s, t in zip(clues, solutions, texts, strict=True)]
    assert len(rows) == 127
    assert sum(c.count("0") for c in clues) == 1016
    assert task.rewards(batch).sum() == reward
    assert sum(map(sudoku_cells_right, texts, clues, solutions)) == cells
    assert sum(map(tag_count, texts)) == pytest.approx(tags, abs=1e-9)


def test_gsm8k(generations):
    task = GSM8KTask(profile="d1")
    rows = [row for row in generations("gsm8k_256_128") if row["ground_truth"] is not None]
    assert len(rows) == 472
    found = [
        task.reward(task.item(row["question"], f"{row['ground_truth']:g}"), row["generations"])
        for row in rows
    ]
    summed = {name: sum(one.parts[name] for one in found) for name in found[0].parts}
    assert summed.pop("tags") == pytest.approx(-397.699, abs=1e-9)
    assert set(summed.values()) == {0.0}
    assert sum(one.total for one in found) == pytest.approx(-397.699, abs=1e-9)
    assert sum(gsm8k_number(row["generations"]) == row["ground_truth"] for row in rows) == 369


def test_strict_reads_boxes_that_d1_does_not(generations):
    task, rows = GSM8KTask(), generations("gsm8k_256_128")
    rows = [row for row in rows if row["ground_truth"] is not None]
    items = [task.item(row["question"], f"{row['ground_truth']:g}") for row in rows]
    _, right = task.judge([(i, r["generations"]) for i, r in zip(items, rows, strict=True)])
    assert right.sum() == 368  # one less than the lenient parser: a number that never closes


def test_countdown_items_of_the_published_set_are_solvable(d1_folder):
    task = CountdownTask()
    lines = (d1_folder / "countdown3_dev.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        numbers = [int(x) for x in row["input"].replace(",", " ").split()]
        item = task.item(numbers, int(row["output"]))
        solutions = task.solve(item)
        assert solutions
        assert task.reward(item, f"<answer>{solutions[0]}</answer>").total == 1.0


def test_published_sudokus_with_several_solutions_are_found_out(d1_folder):
    task = SudokuTask(4, backend="python")
    with (d1_folder / "sudoku4x4_dev.csv").open() as file:
        rows = list(csv.DictReader(file))
    items = [task.item(row["Puzzle"], row["Solution"]) for row in rows]
    assert len(items) == 250
    assert all(item.meta["clues"].count("0") == 8 for item in items)
    ambiguous = [item for item in items if not item.meta["unique"]]
    assert 40 <= len(ambiguous) <= 84  # 124 of all 500 have several solutions
    for item in ambiguous:
        other = task.item(item.meta["clues"]).answer
        for solution in (other, item.answer):
            assert task.reward(item, f"<answer>{solution}</answer>").total == 1.0
