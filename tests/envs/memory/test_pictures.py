"""Pictures show the state where it is."""

import math

import numpy as np
import pytest

from envs.core.palette import mix, rgba
from envs.memory import pictures


def is_colour(found, name):
    wanted = rgba(name)[:3] if isinstance(name, str) else name[:3]
    return max(abs(int(a) - b) for a, b in zip(found, wanted, strict=True)) < 12


def share(picture, name):
    """Return how much of the picture has a colour."""
    return float((np.abs(picture.astype(int) - rgba(name)[:3]).max(-1) < 12).mean())


@pytest.mark.parametrize(("ball", "row", "paddle"), [(0, 3, 5), (9, 8, 2), (4, 9, 4)])
def test_catch(ball, row, paddle):
    picture = pictures.catch_picture(10, 10, ball, row, paddle)
    assert picture.shape == (320, 320, 3)
    if row < 9:
        assert is_colour(picture[9 * 32 + 16, paddle * 32 + 16], "sky")
    assert is_colour(picture[row * 32 + 16, ball * 32 + 16], "orange")
    assert is_colour(picture[16, ((ball + 1) % 10) * 32 + 16], "night")


def test_key_door():
    state = {"row": 2, "column": 1, "key_row": 4, "key_column": 1, "wall": 3, "door": 2,
             "goal_row": 5, "goal_column": 5, "has_key": 0, "open": 0}  # fmt: skip
    cell = 52

    def middle(picture, row, column):
        return picture[row * cell + cell // 2, column * cell + cell // 2]

    picture = pictures.key_door_picture(state, 7, None)
    for row, column, name in ((2, 1, "blue"), (2, 3, "yellow"), (5, 5, "mint"), (1, 3, "grey"),
                              (0, 0, "grey"), (1, 1, "white"), (1, 5, "white")):  # fmt: skip
        assert is_colour(middle(picture, row, column), name), (row, column)
    assert share(picture, "orange") > 0.001
    opened = pictures.key_door_picture(state | {"has_key": 1, "open": 1}, 7, None)
    assert is_colour(middle(opened, 2, 3), "white")
    narrow = pictures.key_door_picture(state, 7, 3)
    np.testing.assert_array_equal(middle(narrow, 2, 1), middle(picture, 2, 1))
    np.testing.assert_array_equal(middle(narrow, 3, 2), middle(picture, 3, 2))
    for row, column in ((2, 3), (4, 1), (5, 5)):
        assert middle(narrow, row, column).sum() < 0.8 * middle(picture, row, column).sum()


@pytest.mark.parametrize("south", [False, True])
def test_t_maze(south):
    cue = pictures.t_maze_picture(20, 0, south, True)
    later = pictures.t_maze_picture(20, 3, south, False)
    assert share(cue, "blue") > share(later, "blue") + 0.0005
    arrow = (np.abs(cue.astype(int) - rgba("blue")[:3]).max(-1) < 12).nonzero()[0]
    assert (arrow.max() > 140) == south
    green = (np.abs(later.astype(int) - rgba("green")[:3]).max(-1) < 12).nonzero()[0].mean()
    assert (green > 100) == south
    far = pictures.t_maze_picture(1000, 10, south, False)
    assert share(far, "green") == 0
    assert share(pictures.t_maze_picture(1000, 999, south, False), "green") > 0


def test_memory_chain():
    start, middle, end = (pictures.memory_chain_picture(20, k, 1) for k in (0, 10, 20))
    assert share(start, "blue") > 2 * share(middle, "blue")
    assert share(end, "green") > 2 * share(middle, "green")
    assert share(start, "grey") < share(middle, "grey") < share(end, "grey")
    assert share(pictures.memory_chain_picture(20, 0, 0), "orange") > share(start, "orange")


def test_cards():
    pack = pictures.cards_picture([0, 1, 2, 3], 3, 20)
    assert share(pack, "green") > 0.002
    assert share(pictures.cards_picture([0, 1, 2], 3, 2), "green") == 0
    hearts, spades = pictures.cards_picture([2], 4, 0), pictures.cards_picture([3], 4, 0)
    assert is_colour(hearts[84, 558], "red")
    assert is_colour(spades[84, 558], "ink")
    dimmed = pictures.cards_picture([1, 3], 4, 1)
    assert is_colour(dimmed[84, 495], mix("red", "paper", 0.55))


@pytest.mark.parametrize(("x", "angle"), [(0.0, 0.0), (1.0, 0.15), (-2.0, -0.1)])
def test_balance(x, angle):
    picture = pictures.balance_picture(x, angle, 2.4)

    def at(px, py):
        top = -0.7 + 6.0 * 240 / 600
        return picture[int((top - py) * 100), int((px + 3.0) * 100)]

    assert is_colour(at(x - 0.2, 0.06), "blue")
    tilt = abs(angle) / (12 * math.pi / 180)
    half = at(x + 0.6 * math.sin(angle), 0.6 * math.cos(angle))
    assert is_colour(half, mix("green", "red", tilt))
    assert is_colour(at(2.4, 0.1), "red")
