"""Any completion of up to 64 KB is scored within 5 ms, whatever is in it."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.reasoning import (
    BoxSearchTask,
    ChainSumTask,
    CountdownTask,
    ExprSetTask,
    ExprTreeTask,
    GSM8KTask,
    MathsTask,
    SudokuTask,
)
from envs.reasoning.task import MAX_COMPLETION

pytestmark = pytest.mark.alone  # a time promise

TASKS = {
    "countdown": CountdownTask(),
    "countdown d1": CountdownTask(profile="d1"),
    "countdown equals": CountdownTask(allow_equals=True),
    "sudoku4": SudokuTask(4, backend="python"),
    "sudoku4 d1": SudokuTask(4, backend="python", profile="d1"),
    "sudoku9": SudokuTask(9, 20, backend="python"),
    "gsm8k": GSM8KTask(),
    "gsm8k d1": GSM8KTask(profile="d1"),
    "gsm8k hashes": GSM8KTask(answer_format="hashes"),
    "gsm8k flexible": GSM8KTask(answer_format="flexible"),
    "maths": MathsTask(),
    "maths d1": MathsTask("d1"),
    "chain-sum": ChainSumTask(schema="npr", structure_weight=0.1),
    "expr-set": ExprSetTask(schema="multiverse", structure_weight=0.1),
    "expr-tree": ExprTreeTask(schema="multiverse", structure_weight=0.1),
    "box-search": BoxSearchTask(schema="npr", structure_weight=0.1),
}
ITEMS = {name: task.draw(np.random.default_rng(0)) for name, task in TASKS.items()}

ATOMS = [
    "<answer>", "</answer>", "<reasoning>", "</reasoning>", "\n", " ", "\t", "\x00", "9**9**9",
    "(", ")", "-", "9", "1+1", "=", "#", "#### ", ",", ".", "\\boxed{", "}", "{", "\\frac", "```",
    "<Parallel>", "<Goal>", "<Outline>1: 3", "</Outline>", "<Path>1: 3+4=7", "</Path>", "</Goal>",
    "<Conclusion>", "</Conclusion>", "</Parallel>", "<guideline>", "<plan>1: 3", "</plan>",
    "<step>", "</step>", "</guideline>", "<takeaway>", "</takeaway>", "\u0661", "\uff11", "\u00b2",
    "\U0001d7d8",
    "\u2003", "\ud800", "0", "1", "a", "\\sqrt{", "^", "x", "<", "|", "$", "%", "__import__('os')",
    "</reasoning><answer>", "</reasoning> <answer>x\n", "1 ", "1,000", "\\text{", "1/0", "//", "\r",
]  # fmt: skip
WRAPS = [("", ""), ("<answer>", "</answer>"), ("<reasoning>", "</reasoning><answer>1</answer>"),
         ("<answer>\\boxed{", "}</answer>"), ("#", ""), ("<answer>", "=1</answer>")]  # fmt: skip


def assert_quick(name, text):
    """Score a text; one of three attempts must take less than 5 ms of this thread's time."""
    task, item, seconds = TASKS[name], ITEMS[name], []
    for _ in range(3):
        began = time.thread_time()
        found = task.reward(item, text)
        seconds.append(time.thread_time() - began)
        if seconds[-1] < 5e-3:
            break
    assert min(seconds) < 5e-3, f"{min(seconds) * 1e3:.1f} ms for {text[:80]!r} ({len(text)})"
    assert np.isfinite(found.total)
    assert found.total == pytest.approx(sum(found.parts.values()))
    return found


@pytest.mark.parametrize("name", TASKS)
def test_long_repetitions(name):
    task, item = TASKS[name], ITEMS[name]
    for atom in ATOMS:
        for before, after in WRAPS[:4]:
            room = MAX_COMPLETION - len(before) - len(after)
            assert_quick(name, before + (atom * (room // len(atom) + 1))[:room] + after)
    assert task.reward(item, "9" * (MAX_COMPLETION + 1)).total == 0.0


texts = st.lists(st.sampled_from(ATOMS) | st.text(max_size=20), min_size=1, max_size=12).map(
    "".join
)


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=25)
@given(text=texts, times=st.sampled_from([1, 3, 400, 100_000]), wrap=st.sampled_from(WRAPS))
def test_any_text(name, text, times, wrap):
    whole = wrap[0] + (text * times)[: MAX_COMPLETION - 60] + wrap[1]
    found = assert_quick(name, whole)
    task, item = TASKS[name], ITEMS[name]
    totals, right = task.judge([(item, whole), (item, task.reference(item))])
    assert totals[0] == found.total
    assert right.tolist() == [found.ok, True]
