"""The maths checker: what is the same, what is not, and hostile answers (promise S8)."""

import time

import numpy as np
import pytest

from envs.reasoning import MathsTask
from envs.reasoning.maths import MathsError, equivalent, evaluate

SAME = [
    ("\\frac{1}{2}", "0.5"), ("\\boxed{\\dfrac12}", "1/2"), ("2\\sqrt{3}", "\\sqrt{12}"),
    ("(1,2)", "( 1 , 2 )"), ("\\{2,1\\}", "\\{1,2\\}"), ("x^2+2x+1", "(x+1)^2"),
    ("1,000", "1000"), ("x=5", "5"), ("\\text{Tuesday}", "Tuesday"), ("5\\text{ cm}", "5"),
    ("50\\%", "50"), ("1\\frac{1}{2}", "3/2"), ("2^{10}", "1024"), ("a+b", "b+a"), ("ab", "ba"),
    ("-\\frac{3}{4}", "-0.75"), ("\\left(3,\\frac{\\pi}{2}\\right)", "(3,\\pi/2)"),
    ("90^\\circ", "90"), ("x^{-1}", "\\frac{1}{x}"), ("3 \\cdot 4", "12"), ("8 \\div 2", "4"),
    ("[0,1)", "[0, 1)"), ("\\sqrt{-4}", "2\\sqrt{-1}"), ("f(x)=2x", "x+x"), ("-x^2", "-(x^2)"),
]  # fmt: skip
DIFFERENT = [
    ("(2,1)", "(1,2)"), ("[0,1)", "[0,1]"), ("x^2+2x+2", "(x+1)^2"), ("a-b", "b-a"),
    ("-x^2", "x^2"), ("", "1"), ("1", ""), ("Monday", "Tuesday"), ("(1,2)", "(1,2,3)"),
    ("\\{1,2\\}", "\\{1,3\\}"), ("1", "(1,1)"), ("2\\pi", "6.28"), ("0.333", "1/3"), ("x", "y"),
    ("1/0", "1/0.0"), ("2^3^4", "4096"), ("12", "1 2"), ("1+", "1"),
]  # fmt: skip
HOSTILE = [
    "9**9**9", "9^{9^{9}}", "9^9^9^9", "__import__('os').system('touch /tmp/pwned')",
    "().__class__.__bases__[0]", "{" * 100_000, "(" * 1900 + "1", "\\frac" * 400, "\\sqrt" * 399,
    "\\frac{1}{" * 200 + "1" + "}" * 200, "x" * 1_000_000, "\\boxed{" * 140_000, "^" * 1999,
    "1" * 1999, "1," * 999, "(((x^{64})^{64})^{64})^{64}", "((9^{64})^{64})", "-" * 1999, "\x00",
    "\u0661", "\\" * 1999, "x^{64}" * 300, "\\text{" * 300, "exec", "lambda:1", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same(one, other):
    assert equivalent(one, other)
    assert equivalent(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_the_same(one, other):
    assert not equivalent(one, other)
    assert not equivalent(other, one)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_answers_score_nothing_at_once(text, tmp_path):
    task = MathsTask()
    item = task.item("?", "1")
    began = time.process_time()
    for completion in (text, f"<answer>{text}</answer>", f"<answer>\\boxed{{{text}}}</answer>"):
        assert task.reward(item, completion).total == 0.0
        assert not equivalent("1", text)
    assert time.process_time() - began < 0.5


def test_exact_values():
    assert evaluate("1/3+1/6") == 0.5
    assert evaluate("2^{-2}") == 0.25
    assert evaluate("1\\frac{3}{4}") == 1.75
    assert evaluate("2\\frac{x}{x}") == 3.0  # a mixed number
    assert abs(evaluate("\\sqrt{2}") ** 2 - 2) < 1e-12
    with pytest.raises(ZeroDivisionError):
        evaluate("1/(2-2)")


def test_bounds_are_named():
    assert evaluate("(" * 39 + "1" + ")" * 39) == 1
    with pytest.raises(MathsError, match="nested too deeply"):
        evaluate("(" * 40 + "1" + ")" * 40)
    assert evaluate("1+" * 249 + "1") == 250
    with pytest.raises(MathsError, match="cannot read"):
        evaluate("1+" * 250 + "1")


@pytest.mark.parametrize("profile", ["strict", "d1"])
def test_exercises_are_solved_by_their_answers(profile):
    task, rng = MathsTask(profile), np.random.default_rng(0)
    kinds = set()
    for _ in range(80):
        item = task.sample(rng, "test")
        kinds.add(item.prompt.split()[0])
        assert task.reward(item, task.reference(item)).ok
        assert not task.reward(item, "<answer>\\boxed{12345}</answer>").ok
    assert kinds == {"Evaluate", "Solve", "Expand", "Simplify"}


def test_published_shape_of_the_maths_reward():
    task = MathsTask("d1")
    item = task.item("?", "3")
    for text, total in (
        ("<answer>\\boxed{3}</answer>", 3.0),
        ("<answer>3</answer>", 2.75),
        ("\\boxed{4}", 0.5),
        ("4", 0.25),
        ("<answer>4</answer>", 0.75),
    ):
        assert task.reward(item, text).total == total
