"""Checks of a batch of actions: what is clipped, counted and refused."""

import numpy as np
import pytest
from gymnasium import spaces

from envs.core.actions import ActionCheck
from envs.core.errors import InvalidActionError

UNEQUAL = spaces.Box(np.array([-1.0, -3.0], np.float32), np.array([2.0, 1.0], np.float32))


@pytest.mark.parametrize(
    ("given", "wanted", "counts"),
    [
        ([[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]], [0, 0]),  # inside all bounds
        ([[2.0, -3.0], [-1.0, 1.0]], [[2.0, -3.0], [-1.0, 1.0]], [0, 0]),  # on their own
        ([[-2.0, 0.0], [0.0, -2.0]], [[-1.0, 0.0], [0.0, -2.0]], [1, 0]),
        ([[0.0, 1.5], [1.5, 0.0]], [[0.0, 1.0], [1.5, 0.0]], [1, 0]),
        ([[3.0, 9.0], [-np.inf, np.inf]], [[2.0, 1.0], [-1.0, 1.0]], [2, 2]),
        ([[0, 1], [-5, 0]], [[0, 1], [-1, 0]], [0, 1]),
    ],
)
def test_numbers_outside_their_bounds_are_clipped_and_counted(given, wanted, counts):
    before = np.array(given)
    own, clipped = ActionCheck("id", UNEQUAL)(before, 2)
    assert own.dtype == np.float32
    np.testing.assert_array_equal(own, wanted)
    np.testing.assert_array_equal(clipped, counts)
    np.testing.assert_array_equal(before, given)
    assert not np.shares_memory(own, before)


def test_a_number_that_is_none_is_refused_where_it_counts():
    check = ActionCheck("id", UNEQUAL)
    actions = np.array([[0.0, np.nan], [0.5, 0.5]])
    with pytest.raises(InvalidActionError, match="not a number"):
        check(actions, 2)
    own, clipped = check(actions, 2, live=np.array([False, True]))
    np.testing.assert_array_equal(own, [[0.0, 0.0], [0.5, 0.5]])
    assert clipped.tolist() == [0, 0]


def test_no_actions_are_none():
    own, clipped = ActionCheck("id", UNEQUAL)(np.zeros((0, 2)), 0)
    assert own.shape == (0, 2)
    assert len(clipped) == 0


def test_texts_of_rows_that_do_not_count_are_not_looked_at():
    check = ActionCheck("id", spaces.Text(9))
    live = np.array([True, False, True])
    for ignored in ("b", 7, None):
        texts, clipped = check(["a", ignored, "c\0"], 3, live)
        assert texts.tolist() == ["a", "", "c\0"]
        assert clipped is None
    assert check(("a", "b"), 2)[0].tolist() == ["a", "b"]
    with pytest.raises(InvalidActionError, match="an action is 7, wanted a text"):
        check(["a", "b", 7], 3, live)
