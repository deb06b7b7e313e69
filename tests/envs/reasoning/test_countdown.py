"""Countdown: rewards of both profiles, the solver against brute force, the generator."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning import CountdownTask
from envs.reasoning.countdown_solver import solve
from envs.reasoning.expressions import evaluate, numbers_in

STRICT, D1 = CountdownTask(), CountdownTask(profile="d1")
ITEM = STRICT.item([2, 3, 8], 14)

CASES = [  # answer, strict, d1
    ("<answer>2*3+8</answer>", 1.0, 1.0),
    ("so <answer> 8 + 3*2 </answer> bye", 1.0, 1.0),
    ("<answer>2*(3)+8</answer>", 1.0, 1.0),
    ("<answer>8*2-3</answer>", 0.1, 0.1),
    ("<answer>2*3+8=14</answer>", 0.0, 0.1),
    ("<answer>2*3</answer>", 0.1, 0.1),
    ("<answer>14</answer>", 0.1, 0.1),
    ("<answer>2*3+8+0</answer>", 0.1, 0.1),
    ("<answer>2*03+8</answer>", 1.0, 0.1),
    ("<answer>nonsense</answer>", 0.0, 0.1),
    ("<answer></answer>", 0.0, 0.1),
    ("2*3+8", 0.0, 0.0),
    ("<answer>2*3+8", 0.0, 0.0),
    ("</answer>2*3+8<answer>", 0.0, 0.0),
    ("<answer>1</answer><answer>2*3+8</answer>", 1.0, 1.0),
    ("<answer>2*3+8</answer><answer>1</answer>", 0.1, 0.1),
    ("<answer>x<answer>2*3+8</answer>", 1.0, 0.1),
    ("<answer>3**2+8</answer>", 0.0, 0.1),
    ("<answer>8+3//2</answer>", 0.0, 0.1),
    ("<answer>8/(3-3)*2</answer>", 0.1, 0.1),
    ("<answer>\\boxed{2*3+8}</answer>", 0.0, 0.1),
    ("<answer>2*3\n+8</answer>", 1.0, 0.1),
    ("<answer>(2*3\n+8)</answer>", 1.0, 1.0),
    ("<answer>+2*3+8</answer>", 0.0, 1.0),
    ("<answer>2*3+8</answer>" + "x" * 70_000, 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "strict", "d1"), CASES)
def test_rewards(text, strict, d1):
    for task, wanted in ((STRICT, strict), (D1, d1)):
        found = task.reward(ITEM, text)
        assert found.total == wanted
        assert found.ok == (wanted == 1.0)
        assert sum(found.parts.values()) == wanted


@pytest.mark.parametrize("task", [STRICT, D1])
def test_batches_are_as_one_by_one(task):
    batch = [(ITEM, text) for text, _, _ in CASES]
    batch += [(STRICT.item([9, 9, 9], 9), "<answer>9**9**9</answer>")]
    batch += [(STRICT.item([1, 3], 2), text) for text in ("<answer>3-1</answer>", "<answer>")]
    batch += [(STRICT.item([9999] * 6, 1), "<answer>9999*9999*9999*9999*9999*9999</answer>")]
    batch += [(STRICT.item([9999] * 6, 3), "<answer>9999/9999+9999/9999+9999/9999</answer>")]
    batch += [(ITEM, "<answer>" + "9" * 200 + "*3+8</answer>")]
    totals, right = task.judge(batch)
    assert totals.tolist() == [task.reward(*pair).total for pair in batch]
    assert right.tolist() == [task.reward(*pair).ok for pair in batch]
    assert totals[-2] == 1.0
    assert task.rewards([]).shape == (0,)


def test_d1_accepts_what_is_within_1e_minus_5():
    near = D1.item([100_000, 99_999, 1], 1)  # 100000/99999*1 is 1.0000100001
    assert D1.reward(near, "<answer>100000/99999*1</answer>").total == 0.1
    close = D1.item([1_000_000, 999_999, 1], 1)
    pair = (close, "<answer>1000000/999999*1</answer>")
    assert D1.reward(*pair).total == 1.0
    assert D1.rewards([pair])[0] == 1.0
    assert STRICT.reward(*pair).total == 0.1
    assert STRICT.rewards([pair])[0] == 0.1


def test_powers_and_floor_quotients_count_in_d1_only():
    for numbers, target, text in (([2, 3, 1], 8, "2**3*1"), ([7, 2, 1], 4, "7//2+1")):
        item = D1.item(numbers, target)
        assert D1.reward(item, f"<answer>{text}</answer>").total == 1.0
        assert D1.rewards([(item, f"<answer>{text}</answer>")])[0] == 1.0
        assert STRICT.reward(item, f"<answer>{text}</answer>").total == 0.0


def test_a_trailing_equation_is_tolerated_if_asked_for():
    lenient = CountdownTask(allow_equals=True)
    for text, wanted in (
        ("2*3+8=14", 1.0),
        ("2*3+8 = -15 ", 1.0),
        ("2*3+8", 1.0),
        ("14=2*3+8", 0.0),
        ("14", 0.1),
    ):
        pair = (ITEM, f"<answer>{text}</answer>")
        assert lenient.reward(*pair).total == wanted
        assert lenient.rewards([pair])[0] == wanted


def brute(numbers, target):
    """Whether any order, signs and bracketing reach the target, by plain enumeration."""

    def values(row):
        if len(row) == 1:
            return {Fraction(row[0])}
        found = set()
        for cut in range(1, len(row)):
            for a, b in itertools.product(values(row[:cut]), values(row[cut:])):
                found |= {a + b, a - b, a * b} | ({a / b} if b else set())
        return found

    return any(target in values(row) for row in set(itertools.permutations(numbers)))


def agree(n, seed):
    rng = np.random.default_rng(seed)
    solvable = 0
    for _ in range(n):
        numbers = rng.integers(1, 21, 3).tolist()
        target = int(rng.integers(1, 60))
        found = solve(numbers, target)
        assert bool(found) == brute(numbers, target)
        solvable += bool(found)
        for text in found:
            assert evaluate(text) == target
            assert sorted(numbers_in(text)) == sorted(numbers)
    return solvable


def test_the_solver_agrees_with_brute_force():
    assert 30 < agree(300, 0) < 250


@pytest.mark.slow
def test_the_solver_agrees_with_brute_force_on_ten_thousand():
    assert agree(10_000, 1) > 1000


def test_solutions_that_differ_by_order_are_one():
    assert solve([2, 3, 8], 14) == ["2*3+8"]
    assert solve([5, 7], 12) == ["5+7"]
    assert solve([4, 2], 2) == ["4-2", "4/2"]
    assert solve([10, 2, 3], 15) == ["10*3/2", "10+2+3"]
    assert solve([1, 1], 5) == []


@given(st.integers(0, 2**32), st.integers(3, 4))
def test_generated_items_are_solved_by_their_answer(seed, n):
    task = CountdownTask(n=n, high=50)
    item = task.draw(np.random.default_rng(seed))
    assert len(item.meta["numbers"]) == n
    assert 1 <= item.meta["target"] <= 100
    assert evaluate(item.answer) == item.meta["target"]
    assert task.reward(item, task.reference(item)).total == 1.0
    assert D1.reward(item, task.reference(item)).total == 1.0


def test_unique_items_have_one_solution():
    task, rng = CountdownTask(unique=True), np.random.default_rng(0)
    assert all(len(task.solve(task.draw(rng))) == 1 for _ in range(20))
    loose = CountdownTask()
    assert any(len(loose.solve(loose.draw(rng))) > 1 for _ in range(50))


def test_numbers_lie_in_their_range():
    task, rng = CountdownTask(n=4, low=5, high=9, max_target=30), np.random.default_rng(0)
    drawn = [task.draw(rng).meta for _ in range(60)]
    assert {x for meta in drawn for x in meta["numbers"]} == {5, 6, 7, 8, 9}
    assert max(meta["target"] for meta in drawn) <= 30
