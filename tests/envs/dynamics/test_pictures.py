"""Pictures show the state where it is."""

import math

import numpy as np
import pytest

from envs.core.palette import rgba
from envs.dynamics import pictures
from envs.dynamics.lorenz import TARGET


def colour_at(picture, x, y, x_range, y_range):
    """Return the colour at a point of the world; ``y_range`` is (bottom, top)."""
    height, width, _ = picture.shape
    column = (x - x_range[0]) / (x_range[1] - x_range[0]) * width
    row = (y_range[1] - y) / (y_range[1] - y_range[0]) * height
    return tuple(int(c) for c in picture[int(row), int(column)])


def is_colour(found, name):
    return max(abs(a - b) for a, b in zip(found, rgba(name)[:3], strict=True)) < 12


@pytest.mark.parametrize("point", [(3.0, 1.0, 20.0), (-12.0, -9.0, 35.0)])
def test_lorenz(point):
    picture = pictures.lorenz_picture(*point)
    ranges = (-24.0, 24.0), (-2.0, 54.0)
    assert is_colour(colour_at(picture, point[0], point[2], *ranges), "orange")
    assert is_colour(colour_at(picture, TARGET[0], TARGET[2], *ranges), "mint")


@pytest.mark.parametrize("point", [(1.0, -2.0), (-2.5, 3.0)])
def test_vanderpol(point):
    picture = pictures.vanderpol_picture(*point)
    ranges = (-4.5, 4.5), (-6.0, 6.0)
    assert is_colour(colour_at(picture, *point, *ranges), "red")
    assert is_colour(colour_at(picture, 0.0, 0.0, *ranges), "green")
    cycle = pictures._limit_cycle()
    assert np.abs(cycle[0] - cycle[-1]).max() < 0.2
    assert cycle[:, 0].max() == pytest.approx(2.0199, abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 2.0, -2.5])
def test_pendulum(angle):
    picture = pictures.pendulum_picture(angle, 3.0)
    ranges = (-1.4, 1.4), (-1.4, 1.4)
    tip = (math.sin(angle), math.cos(angle))
    assert is_colour(colour_at(picture, *tip, *ranges), "ink")
    turned = angle + 0.4
    arc = 1.15 * math.sin(turned), 1.15 * math.cos(turned)
    assert is_colour(colour_at(picture, *arc, *ranges), "orange")
    back = pictures.pendulum_picture(angle, -3.0)
    arc = 1.15 * math.sin(angle - 0.4), 1.15 * math.cos(angle - 0.4)
    assert is_colour(colour_at(back, *arc, *ranges), "purple")


@pytest.mark.parametrize(("x", "angle"), [(0.0, 0.0), (1.2, math.pi), (-2.0, 0.7)])
def test_cartpole(x, angle):
    picture = pictures.cartpole_picture(x, angle, 2.4)
    ranges = (-3.0, 3.0), (-1.35, -1.35 + 6.0 * 320 / 600)
    assert is_colour(colour_at(picture, x - 0.2, 0.06, *ranges), "blue")
    half = (x + 0.6 * math.sin(angle), 0.6 * math.cos(angle))
    found = colour_at(picture, *half, *ranges)
    upright = (1 + math.cos(angle)) / 2
    assert (found[1] > found[0]) == (upright > 0.6)
    assert is_colour(colour_at(picture, 2.4, 0.1, *ranges), "red")


def test_front():
    x = np.arange(64) * (2 * math.pi / 64)
    u, force = 3 * np.sin(x), 0.2 * np.cos(x)
    picture = pictures.front_picture(u, force, 2 * math.pi, "wave")
    ranges = (0.0, 2 * math.pi), (-4.0 - 0.42 * 8, 4.0)
    red, blue = colour_at(picture, 1.6, 1.5, *ranges), colour_at(picture, 4.7, -1.5, *ranges)
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert is_colour(colour_at(picture, 1.6, -1.5, *ranges), "paper")
    middle = -4.0 - 0.24 * 8
    pushed = colour_at(picture, 0.2, middle + 0.5, *ranges)
    assert pushed[0] > pushed[2] + 60
    assert is_colour(colour_at(picture, math.pi, middle + 0.5, *ranges), "paper")
    level = pictures.front_picture(u * 0 + 0.2, force * 0, 1.0, "level", 0.5, (-0.2, 0.8))
    ranges = (0.0, 1.0), (-0.2 - 0.42, 0.8)
    assert is_colour(colour_at(level, 0.5, 0.5, *ranges), "green")
