"""Where answers lie: the linear scans against the regular expressions that they stand for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning.answers import (
    MAX_BOX,
    first_tagged,
    innermost,
    last_boxed,
    last_tagged,
    tagged_or_boxed,
)

PIECES = ["<answer>", "</answer>", "x", "\n", " y ", "<answer", "answer>"]
PATTERN = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_tags_are_found_as_the_pattern_finds_them(text):
    found = PATTERN.findall(text)
    assert last_tagged(text) == (found[-1] if found else None)
    assert first_tagged(text) == (found[0] if found else None)
    inner = innermost(text)
    assert (inner is not None) == bool(found)
    if inner is not None:
        assert "<answer>" not in inner
        assert inner == inner.strip()
        assert found[-1].strip().endswith(inner)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{3}", "3"),
        ("a \\boxed{1} b \\boxed{\\frac{1}{2}} c}", "\\frac{1}{2}"),
        ("\\boxed{}", ""),
        ("\\boxed{{}{{}}}x", "{}{{}}"),
        ("\\boxed{3", None),
        ("\\boxed{{3}", None),
        ("boxed{3}", None),
        ("\\boxed{" + "x" * (MAX_BOX - 1) + "}", "x" * (MAX_BOX - 1)),
        ("\\boxed{" + "x" * MAX_BOX + "}", None),
    ],
)
def test_boxes(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer> 3 </answer>", "3"),
        ("<answer>\\boxed{ 3 }</answer>", "3"),
        ("<answer>a \\boxed{3}</answer>", "a \\boxed{3}"),
        ("so \\boxed{4}", "4"),
        ("\\boxed{4} <answer>3</answer>", "3"),
        ("none", None),
        ("<answer>\\boxed{3</answer>", "\\boxed{3"),
        ("<answer>3</answer> or </answer>", "3"),
    ],
)
def test_tags_come_before_boxes(text, answer):
    assert tagged_or_boxed(text) == answer
