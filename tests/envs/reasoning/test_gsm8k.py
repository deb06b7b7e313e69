"""Word problems: gold answers, rewards of both profiles, numbers as people write them."""

import gzip
import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning import GSM8KTask
from envs.reasoning.gsm8k_d1 import parts, soft_format, tag_count
from envs.reasoning.numerals import number_of
from envs.reasoning.word_problems import make

GOOD = "<reasoning>\nThree.\n</reasoning>\n<answer>\n3\n</answer>\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("$1,200.50", Fraction(2401, 2)), ("\\frac{3}{4}", Fraction(3, 4)), ("12 apples", 12),
     ("-5", -5), ("1 3/4", Fraction(7, 4)), ("\\boxed{18}", 18), ("18.00", 18), ("3 \\times 4", 12),
     ("x = 7", 7), ("The answer is 7.", 7), ("50\\%", 50), ("70,000", 70_000),
     (".5", Fraction(1, 2)),
     ("\\$70,000 \\text{ dollars}", 70_000), ("-\\frac{1}{2}", Fraction(-1, 2)),
     ("5 miles/hour", 5),
     ("\u20ac9", 9), ("+4", 4), ("1,23", None), ("9**9**9", None), ("", None), ("abc", None),
     ("3 or 4", None), ("1/0", None), ("1" * 401, None), ("\u0663", None), ("nan", None)],
)  # fmt: skip
def test_numbers(text, value):
    assert number_of(text) == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOOD, (2.0, 0.5, 0.5, 0.0, 0.5)),
        (GOOD + "\n", (2.0, 0.5, 0.5, 0.0, 0.498)),
        (GOOD[:-1], (2.0, 0.5, 0.0, 0.0, 0.125 * 4 - 0.001 * (len(GOOD) - 1) + 0.001)),
        ("<reasoning>a</reasoning> <answer>3</answer>", (2.0, 0.5, 0.0, 0.5, 0.0)),
        ("3", (2.0, 0.5, 0.0, 0.0, 0.0)),
        ("<answer>3.0</answer>", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("<answer>-3</answer>", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("<answer>1</answer><answer> 3 </answer>", (2.0, 0.5, 0.0, 0.0, 0.0)),
        ("<answer>\\boxed{3}</answer>", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("<answer>\u00b2</answer>", (0.0, 0.5, 0.0, 0.0, 0.0)),
    ],
)
def test_d1_parts(text, wanted):
    found = parts(text, "3")
    assert tuple(found.values()) == pytest.approx(wanted, abs=1e-12)
    assert GSM8KTask(profile="d1").reward(GSM8KTask().item("?", "3"), text).parts == found


def test_a_perfect_answer_without_a_final_line_feed_pays_for_all_of_itself():
    text = "<reasoning>\n3\n</reasoning>\n<answer>\n3\n</answer>"
    assert len(text) == 47
    assert tag_count(text) == pytest.approx(0.454, abs=1e-12)


PIECES = ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "\n", " ", "x", "\u2003", "\v"]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_the_linear_soft_format_is_the_published_pattern(text):
    for whole in (text, "<reasoning>" + text, "<reasoning>x</reasoning>" + text):
        pattern = r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>"
        assert soft_format(whole) == bool(re.match(pattern, whole))


def test_strict_rewards():
    task = GSM8KTask()
    item = task.item("How many?", "1200")
    for text, total, ok in (
        ("<reasoning>so</reasoning>\n<answer>$1,200</answer>", 1.1, True),
        ("<answer>1200.0 apples</answer>", 1.0, True),
        ("it is \\boxed{1200}", 1.0, True),
        ("<reasoning>so</reasoning><answer>7</answer>", 0.1, False),
        ("<reasoning>so</reasoning><answer></answer>", 0.0, False),
        ("<reasoning>a</reasoning><answer>1200</answer>!", 1.0, True),
        ("1200", 0.0, False),
        ("<answer>1200 or 1300</answer>", 0.0, False),
        ("", 0.0, False),
    ):
        found = task.reward(item, text)
        assert (found.total, found.ok) == (pytest.approx(total), ok)
    assert GSM8KTask(format_weight=0.5).reward(item, task.reference(item)).total == 1.5


@pytest.mark.parametrize(
    ("style", "text", "ok"),
    [("hashes", "so\n#### 1,200", True), ("hashes", "1200", False), ("hashes", "#### 12", False),
     ("flexible", "first 3 then 1,200.", True), ("flexible", "1200 not 3", False),
     ("flexible", "none", False), ("tags", "#### 1200", False)],
)  # fmt: skip
def test_answer_formats(style, text, ok):
    task = GSM8KTask(answer_format=style)
    assert task.reward(task.item("?", "1200"), text).ok == ok


@given(st.integers(0, 2**32), st.integers(2, 6))
def test_the_program_of_a_problem_leads_to_its_answer(seed, steps):
    problem = make(np.random.default_rng(seed), steps)
    assert len(problem.program) == steps
    results = []
    for line in problem.program:
        left, _, right = line.partition(" = ")
        assert number_of(left) == int(right)
        results.append(int(right))
    assert results[-1] == problem.answer > 0
    stated = {int(x) for x in re.findall(r"[0-9]+", problem.text)}
    words = {"twice": 2, "three": 3, "four": 4, "five": 5}
    stated |= {n for word, n in words.items() if word in problem.text}
    for line in problem.program:  # every number is in the story or was computed
        left = {int(x) for x in re.findall(r"[0-9]+", line.partition("=")[0])}
        assert left <= stated | set(results)


def test_texts_never_repeat_between_splits():
    task, rng = GSM8KTask(), np.random.default_rng(0)
    texts = {s: {task.sample(rng, s).prompt for _ in range(200)} for s in ("train", "test")}
    assert not texts["train"] & texts["test"]
    assert len(texts["test"]) > 195
    for item in (task.sample(rng, "valid") for _ in range(20)):
        assert task.reward(item, task.reference(item)).total == pytest.approx(1.1)
        assert item.meta["question"].isascii()


def test_distractors_can_be_left_out():
    rng = np.random.default_rng(0)
    owns = [
        ("owns" in make(rng, 3, False).text, "owns" in make(rng, 3, True).text) for _ in range(60)
    ]
    assert not any(without for without, _ in owns)
    assert 10 < sum(with_ for _, with_ in owns) < 50


def test_real_files(tmp_path):
    rows = [{"question": f"Q{k}?", "answer": f"so <<1+{k}=1>>\n#### 1,{k:03d}"} for k in range(60)]
    train, test = tmp_path / "train.jsonl.gz", tmp_path / "test.jsonl"
    with gzip.open(train, "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    test.write_text(json.dumps(rows[0]) + "\n\n")
    task, rng = GSM8KTask(train_file=str(train), test_file=str(test)), np.random.default_rng(0)
    drawn = {
        s: {task.sample(rng, s).prompt for _ in range(400)} for s in ("train", "valid", "test")
    }
    assert drawn["test"] == {task.item("Q0?", "1").prompt}
    assert not drawn["train"] & drawn["valid"]
    assert len(drawn["train"] | drawn["valid"]) == 59  # the test item is in no other split
    item = task.sample(rng, "test")
    assert item.answer == "1000"
    assert task.reward(item, "<answer>1000</answer>").ok
    only = GSM8KTask(test_file=str(test))
    with pytest.raises(ValueError, match="split train has no items"):
        only.sample(rng, "train")


def test_bad_files_are_named(tmp_path):
    broken = tmp_path / "broken.jsonl"
    for line in ("{", '{"question": "a"}', '{"question": "a", "answer": "no gold"}', "[1]"):
        broken.write_text(line)
        with pytest.raises(ValueError, match=r"^reasoning/gsm8k-v0: .*line 1"):
            GSM8KTask(train_file=str(broken))
    with pytest.raises(ValueError, match=r"^reasoning/gsm8k-v0: test_file"):
        GSM8KTask(test_file=str(tmp_path / "absent"))
