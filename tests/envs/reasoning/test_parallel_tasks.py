"""Chain sums, expression sets and trees, box search: traces, values, rewards."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning import BoxSearchTask, ChainSumTask, ExprSetTask, ExprTreeTask
from envs.reasoning.arithmetic_tree import (
    Tree,
    balanced_tree,
    printed,
    random_tree,
    steps,
    value,
    wrong_statements,
)

TASKS = [ChainSumTask, ExprSetTask, ExprTreeTask, BoxSearchTask]
SCHEMAS = ["multiverse", "npr"]


def python(text, modulus):
    """The value by Python's own evaluation: reduction modulo m goes through + - *."""
    return eval(text) % modulus


@given(st.integers(0, 2**32), st.integers(0, 7), st.sampled_from([10, 97, 100]))
def test_trees_have_pythons_value(seed, operations, modulus):
    tree = random_tree(np.random.default_rng(seed), operations)
    text = printed(tree)
    assert value(tree, modulus) == python(text, modulus)
    told = steps(tree, modulus)
    assert len(told) == operations == len(re.findall(r"[+\-*]", text))
    assert not wrong_statements(";".join(told), modulus)
    if told:
        assert told[-1].endswith(f"={value(tree, modulus)}")


def test_parentheses_stand_where_they_are_needed():
    def of(sign, left, right):
        return Tree(sign, left, right)

    one, two, three = (Tree(number=k) for k in (1, 2, 3))
    assert printed(of("*", of("+", one, two), three)) == "(1+2)*3"
    assert printed(of("*", one, of("-", two, three))) == "1*(2-3)"
    assert printed(of("-", of("-", one, two), three)) == "1-2-3"
    assert printed(of("-", one, of("-", two, three))) == "1-(2-3)"
    assert printed(of("+", one, of("*", two, three))) == "1+2*3"
    assert printed(of("*", of("*", one, two), three)) == "1*2*3"


def test_wrong_statements_are_found():
    text = "1+2=3;4*4=6;3-5=8 9+9=18;2*2=4"
    assert wrong_statements(text, 10) == ["9+9=18"]
    assert wrong_statements(text, 10**6) == ["4*4=6", "3-5=8"]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_reference_traces_are_right_and_well_formed(kind, schema):
    task, rng = kind(schema=schema, structure_weight=0.5), np.random.default_rng(0)
    for _ in range(60):
        item = task.draw(rng)
        serial, parallel = task.serial(item), task.parallel(item, schema)
        assert task.reference(item) == parallel
        assert kind().reference(item) == serial
        assert task.reward(item, serial).total == 1.0
        assert task.reward(item, parallel).total == 1.5
        assert kind().reward(item, parallel).total == 1.0
        assert not task.wrong_steps(serial + parallel)
        report = task.structure(parallel, schema)
        assert report.ok, report.errors
        assert report.branches >= report.blocks >= 1
        assert not task.structure(serial, schema).ok
        assert not task.structure(parallel, SCHEMAS[schema == "multiverse"]).ok


def test_chain_sums():
    task, rng = ChainSumTask(), np.random.default_rng(0)
    item = task.draw(rng)
    assert set(item.prompt) <= set("0123456789+=")
    terms = [int(x) for x in item.prompt.rstrip("=").split("+")]
    assert 4 <= len(terms) <= 8
    assert int(item.answer) == sum(terms)
    responses = {task.response(rng, item) for _ in range(40)}
    assert responses == {task.serial(item), f"#{item.answer}"}
    three = ChainSumTask(3, 3).draw(rng)
    fixed = task.__class__(3, 3)
    assert fixed.serial(three).count("=") == 2
    for text, ok in ((f"#{item.answer}", True), (f"#0{item.answer} ", True), (item.answer, False),
                     (f"#{item.answer};", False), (f"#1#{item.answer}", True), ("#", False),
                     (f"#{item.answer} #1", False), ("#\u0661", False)):  # fmt: skip
        assert task.reward(item, text).ok == ok
    share = np.mean([task.response(rng, item).startswith("#") for _ in range(400)])
    assert 0.4 < share < 0.6


def test_expression_sets_add_up():
    task, rng = ExprSetTask(modulus=100), np.random.default_rng(0)
    sizes = set()
    for _ in range(60):
        item = task.draw(rng)
        lines = [line.partition(": ")[2] for line in item.prompt.splitlines()[1:]]
        sizes.add(len(lines))
        assert int(item.answer) == sum(python(text, 100) for text in lines) % 100
        report = task.structure(task.parallel(item))
        assert (report.blocks, report.branches, report.depth) == (1, len(lines), 1)
    assert sizes == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_expression_trees(depth):
    task, rng = ExprTreeTask(depth), np.random.default_rng(depth)
    for _ in range(10):
        item = task.draw(rng)
        text = item.prompt.partition("evaluate ")[2]
        assert len(re.findall("[0-9]", text)) == 2**depth
        assert int(item.answer) == python(text, 10)
        nested = task.structure(task.parallel(item))
        assert nested.depth == depth - 1
        assert nested.blocks == 2 ** (depth - 1) - 1
        rounds = task.structure(task.parallel(item, "npr"), "npr")
        assert rounds.depth == 1
        assert rounds.branches == 2**depth - 1
        told = task.parallel(item) + task.parallel(item, "npr") + task.serial(item)
        assert not task.wrong_steps(told)
    assert printed(balanced_tree(rng, 0)) in set("123456789")


def test_one_box_alone_is_right():
    task, rng = BoxSearchTask(), np.random.default_rng(0)
    sizes, found = set(), set()
    for _ in range(150):
        item = task.draw(rng)
        head, *lines = item.prompt.splitlines()
        target = int(re.search(r"equals (\d+)", head)[1])
        right = [
            k for k, line in enumerate(lines, 1) if python(line.partition(": ")[2], 10) == target
        ]
        assert right == [int(item.answer)]
        sizes.add(len(lines))
        found.add(right[0] / len(lines))
        rounds = task.structure(task.parallel(item, "npr"), "npr")
        assert rounds.blocks == -(-int(item.answer) // 6)
        assert task.structure(task.parallel(item)).branches == min(6, len(lines))
        assert task.serial(item).count("yes") == 1
    assert sizes == set(range(3, 13))
    assert len(found) > 20
    for wrong in ("<answer>0</answer>", "<answer>1 or 2</answer>", f"{item.answer}", ""):
        assert task.reward(item, wrong).total == 0.0


@pytest.mark.parametrize("kind", TASKS)
def test_splits_share_nothing(kind):
    task, rng = kind(), np.random.default_rng(0)
    seen = {}
    for split in ("train", "valid", "test"):
        for _ in range(80):
            item = task.sample(rng, split)
            assert task.split(item) == split
            seen.setdefault(task.canonical(item), set()).add(split)
    assert all(len(splits) == 1 for splits in seen.values())


def test_arguments_are_named():
    for kind, wrong in (
        (ChainSumTask, {"low_terms": 1}), (ExprSetTask, {"high": 7}), (ExprTreeTask, {"depth": 6}),
        (BoxSearchTask, {"modulus": 9}), (ExprSetTask, {"structure_weight": 0.5}),
        (ExprSetTask, {"schema": "xml"}), (ChainSumTask, {"profile": "d1"}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{kind.id}: {next(iter(wrong))}"):
            kind(**wrong)
    task = ExprSetTask()
    with pytest.raises(ValueError, match="schema"):
        task.parallel(task.draw(np.random.default_rng(0)), "xml")
    with pytest.raises(ValueError, match="split"):
        task.sample(np.random.default_rng(0), "dev")
    with pytest.raises(TypeError, match="a completion is a string"):
        task.reward(task.draw(np.random.default_rng(0)), b"x")
