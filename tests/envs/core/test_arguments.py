"""Checks of constructor arguments."""

import numpy as np
import pytest

from envs.core import check_choice, check_integer, check_number

ENV = "family/name-v0"


@pytest.mark.parametrize("value", [0, 1.5, np.float32(2.0), np.int8(3), 3])
def test_numbers_come_back_as_floats(value):
    found = check_number(ENV, "re", value, 0, 3)
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize(
    "value", [-0.1, 3.1, "1", None, True, np.True_, np.nan, np.inf, 1j, [1.0], np.array([1.0])]
)
def test_other_numbers_are_refused(value):
    with pytest.raises(ValueError, match=r"family/name-v0: re must be a number in \[0, 3\], got "):
        check_number(ENV, "re", value, 0, 3)


@pytest.mark.parametrize("value", [12, 12.0, np.int64(13)])
def test_integers_come_back_as_ints(value):
    found = check_integer(ENV, "cells", value, 12)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [4, 12.5, "12", None, False, np.nan, np.inf, [12], 1e400])
def test_other_integers_are_refused(value):
    with pytest.raises(ValueError, match=r"family/name-v0: cells must be an integer >= 12, got "):
        check_integer(ENV, "cells", value, 12)


def test_bounds_in_messages():
    with pytest.raises(ValueError, match=r"re must be >= 1, got 0$"):
        check_number(ENV, "re", 0, 1)
    with pytest.raises(ValueError, match=r"re must be <= 1, got 2$"):
        check_number(ENV, "re", 2, high=1)
    with pytest.raises(ValueError, match=r"re must be a number, got 'x'$"):
        check_number(ENV, "re", "x")
    with pytest.raises(ValueError, match=r"n must be an integer in \[1, 4\], got 5$"):
        check_integer(ENV, "n", 5, 1, 4)


def test_choices():
    assert check_choice(ENV, "solver", "etdrk4", ["fd", "etdrk4"]) == "etdrk4"
    for value in ("etd", None, 3, ["fd"], np.array(["fd", "fd"])):
        with pytest.raises(ValueError, match=r"solver must be one of fd, etdrk4, got "):
            check_choice(ENV, "solver", value, ["fd", "etdrk4"])
