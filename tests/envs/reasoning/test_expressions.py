"""Expressions: values against Python's own, many at once against one by one."""

import ast
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.reasoning import python_values
from envs.reasoning.expression_batch import fits, run_all
from envs.reasoning.expressions import (
    MAX_LENGTH,
    ExpressionError,
    evaluate,
    numbers_in,
    program_of,
    run,
    shape_of,
)


class Exact(ast.NodeTransformer):
    """Turns numbers into fractions, so that Python's own evaluation is exact."""

    def visit_Constant(self, node):
        return ast.Call(ast.Name("Fraction", ast.Load()), [node], [])


def python(text):
    tree = ast.fix_missing_locations(Exact().visit(ast.parse(text, mode="eval")))
    return eval(compile(tree, "", "eval"), {"Fraction": Fraction})


def expressions(depth=4):
    leaves = st.integers(0, 120).map(str)

    def grow(inner):
        sign = st.sampled_from(["+", "-", "*", "/", " - ", " * "])
        joined = st.tuples(inner, sign, inner).map("".join)
        return joined | inner.map(lambda t: f"({t})") | inner.map(lambda t: f"-{t}")

    return st.recursive(leaves, grow, max_leaves=6)


@given(expressions())
def test_values_are_pythons(text):
    try:
        wanted = python(text)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            evaluate(text)
        return
    assert evaluate(text) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2/-3*4", Fraction(-8, 3)),
        ("8-3-2", 3),
        ("48/4/3", 4),
        ("-(1+2)*3-4/2", -11),
        ("--5", 5),
        ("1/3+1/6", Fraction(1, 2)),
        (" ( 7 ) ", 7),
        ("007", 7),
    ],
)
def test_known_values(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "1+", "+1", "(1", "1)", "()", "1 2", "2**3", "7//2", "1.5", "1=1", "a", "1_0", "\u0661+1",
     "\uff11", "1\x00", "2(3)", "(2)(3)", "9**9**9", "1,2", "[1]", "1" * (MAX_LENGTH + 1),
     "(" * 60 + "1" + ")" * 60, "-" * 60 + "1", "+".join(["1"] * 17)],
)  # fmt: skip
def test_anything_else_is_no_expression(text):
    with pytest.raises(ExpressionError):
        evaluate(text)


def test_shapes_leave_numbers_and_blanks_out():
    assert shape_of("12 + (3*\t45)") == "9+(9*9)"
    assert shape_of("1 2") == "99"
    assert numbers_in("12 + (3*45)") == [12, 3, 45]
    assert program_of("9-9*9") == (0, 1, 2, -3, -2)


@given(st.lists(expressions(), min_size=1, max_size=20))
def test_many_at_once_are_as_one_by_one(texts):
    programs = [program_of(shape_of(text)) for text in texts]
    width = max(len(numbers_in(text)) for text in texts)
    operands = np.zeros((len(texts), width), np.int64)
    for row, text in zip(operands, texts, strict=True):
        row[: len(numbers_in(text))] = numbers_in(text)
    if not fits(120, width):
        return
    top, bottom = run_all(programs, operands)
    for text, program, a, b in zip(texts, programs, top.tolist(), bottom.tolist(), strict=True):
        try:
            wanted = run(program, numbers_in(text))
        except ZeroDivisionError:
            assert b == 0
        else:
            assert b != 0
            assert Fraction(a, b) == wanted


def test_fits_is_the_bound_of_64_bits():
    assert fits(100, 4)
    assert fits(2**14, 4)
    assert not fits(2**15, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2**3", 8), ("7//2", 3), ("1/4", 0.25), ("2**-1", 0.5), (" 1+1", 2), ("(1+\n2)", 3),
     ("00", 0), ("1.5*2", 3.0), ("+3", 3)],
)  # fmt: skip
def test_python_values(text, value):
    found = python_values.evaluate(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["9**9**9", "07", "1=1", "()", "1(2)", "1/0", "1+\n2", "a", "1\u00a0+1", "\uff11", "1 2",
     "(" * 300 + "1" + ")" * 300, "-" * 990 + "1", "1" * 1001, "0.0**-1", "2.0**9999", "1;2"],
)  # fmt: skip
def test_what_python_or_a_bound_refuses(text):
    assert python_values.evaluate(text) is None
