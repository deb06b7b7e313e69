"""Pictures of this family, drawn on :class:`envs.core.canvas.Canvas`."""

from __future__ import annotations

import functools
import math

import numpy as np

from envs.core.canvas import Canvas
from envs.core.palette import mix, shade
from envs.dynamics import lorenz, vanderpol
from envs.dynamics.rk4 import rk4


@functools.cache
def _lorenz_orbit() -> np.ndarray:
    """Return points ``[4000, 3]`` on the attractor."""
    state = (1.0, 1.0, 20.0)
    points = []
    for _ in range(4500):
        state = rk4(lorenz.lorenz_field, state, 0.0, lorenz.STEP, 1)
        points.append(state)
    return np.array(points[500:])


def lorenz_picture(x: float, y: float, z: float) -> np.ndarray:
    """Return the attractor seen along y, the goal, and the state with its velocity."""
    canvas = Canvas(480, 400, (-24.0, 24.0), (-2.0, 54.0), background="night")
    canvas.polyline(_lorenz_orbit()[:, [0, 2]], "#3b5b86", 1.0)
    goal = (lorenz.TARGET[0], lorenz.TARGET[2])
    canvas.dot(goal, 9, "#2e9a5a88")
    canvas.dot(goal, 4, "mint")
    canvas.text((goal[0], goal[1] - 3.4), "C+", 13, "mint")
    rates = lorenz.lorenz_field((x, y, z), 0.0)
    canvas.arrow((x, z), (x + 0.04 * rates[0], z + 0.04 * rates[2]), "yellow", 2.0)
    canvas.dot((x, z), 7, "orange")
    distance = math.dist((x, y, z), lorenz.TARGET)
    canvas.text((12, 16), f"distance to C+  {distance:5.1f}", 14, "light", "lm", pixels=True)
    canvas.text((240, 388), "x", 12, "grey", pixels=True)
    canvas.text((468, 200), "z", 12, "grey", pixels=True)
    return canvas.array()


@functools.cache
def _limit_cycle() -> np.ndarray:
    """Return one round of the unforced cycle, ``[380, 2]`` (its period is 7.6)."""
    state = rk4(vanderpol.vanderpol_field, (2.0, 0.0), 0.0, vanderpol.STEP, 2000)
    points = []
    for _ in range(382):
        state = rk4(vanderpol.vanderpol_field, state, 0.0, vanderpol.STEP, 1)
        points.append(state)
    return np.array(points)


def vanderpol_picture(x: float, v: float) -> np.ndarray:
    """Return the phase plane: flow, limit cycle, goal, state."""
    canvas = Canvas(420, 420, (-4.5, 4.5), (-6.0, 6.0))
    for px in np.arange(-4.0, 4.1, 0.8):
        for pv in np.arange(-5.4, 5.5, 0.9):
            dx, dv = vanderpol.vanderpol_field((px, pv), 0.0)
            size = 0.3 / math.hypot(dx / 0.75, dv, 1e-9)
            canvas.arrow((px, pv), (px + dx * size, pv + dv * size), "light", 1.2, 5)
    canvas.line((-4.5, 0), (4.5, 0), "grey", 1)
    canvas.line((0, -6), (0, 6), "grey", 1)
    canvas.polyline(_limit_cycle(), "sky", 3.0, closed=True)
    canvas.dot((0, 0), 6, "green")
    canvas.dot((x, v), 8, "red")
    canvas.text((404, 200), "x", 13, "grey", pixels=True)
    canvas.text((222, 12), "x'", 13, "grey", pixels=True)
    return canvas.array()


def pendulum_picture(angle: float, rate: float) -> np.ndarray:
    """Return the rod, and an arc as long as its rate."""
    canvas = Canvas(360, 360, (-1.4, 1.4), (-1.4, 1.4))
    canvas.circle((0, 0), 1.0, None, "light", 2.0)
    tip = (math.sin(angle), math.cos(angle))
    turns = np.linspace(angle, angle + rate * 0.25, 40)
    arc = 1.15 * np.stack([np.sin(turns), np.cos(turns)], 1)
    colour = "orange" if rate > 0 else "purple"
    canvas.polyline(arc, colour, 4.0)
    canvas.arrow(arc[-6], arc[-1], colour, 4.0, 10)
    upright = (1 + math.cos(angle)) / 2
    canvas.line((0, 0), tip, mix("red", "green", upright), 14.0)
    canvas.dot((0, 0), 9, "ink")
    canvas.dot(tip, 12, "ink")
    return canvas.array()


def cartpole_picture(x: float, angle: float, track: float) -> np.ndarray:
    """Return the track, the cart and its pole; the pole is 1 m long."""
    view = track + 0.6
    canvas = Canvas(600, 320, (-view, view), (-1.35, -1.35 + 2 * view * 320 / 600))
    canvas.line((-track, 0), (track, 0), "grey", 3)
    for end in (-track, track):
        canvas.line((end, -0.15), (end, 0.15), "red", 4)
    canvas.dot((0, 0), 4, "green")
    canvas.rectangle(x - 0.25, -0.14, x + 0.25, 0.14, "blue", "ink", 1.5)
    for wheel in (-0.15, 0.15):
        canvas.circle((x + wheel, -0.16), 0.07, "ink")
    upright = (1 + math.cos(angle)) / 2
    tip = (x + math.sin(angle), math.cos(angle))
    canvas.line((x, 0), tip, mix("red", "green", upright), 9.0)
    canvas.dot((x, 0), 5, "ink")
    return canvas.array()


def front_picture(
    u: np.ndarray,
    force: np.ndarray,
    length: float,
    title: str,
    level: float | None = None,
    heights: tuple[float, float] = (-4.0, 4.0),
) -> np.ndarray:
    """Return a field over its period, with the force on it below.

    Args:
        u: Field ``[N]``.
        force: Force ``[N]``; drawn so that the full height of its strip is 0.4.
        length: Period.
        title: Heading.
        level: Height to be reached, if there is one.
        heights: Range of the field that is shown.
    """
    low, high = heights
    canvas = Canvas(600, 360, (0.0, length), (low - 0.42 * (high - low), high))
    x = np.append(np.arange(len(u)) * (length / len(u)), length)
    wave = np.append(u, u[0])
    colours = shade(wave, -max(abs(low), high), max(abs(low), high))
    base = max(low, 0.0) if level is None else level
    for k in range(len(u)):
        corners = [(x[k], base), (x[k], wave[k]), (x[k + 1], wave[k + 1]), (x[k + 1], base)]
        canvas.polygon(corners, tuple(int(c) for c in colours[k]))
    canvas.line((0, base), (length, base), "grey" if level is None else "green", 2.0)
    canvas.polyline(np.stack([x, wave], 1), "ink", 2.5)
    middle, unit = low - 0.24 * (high - low), 0.3 * (high - low) / 0.4
    canvas.line((0, middle), (length, middle), "light", 1.5)
    pushed = middle + unit * np.append(force, force[0])
    canvas.polygon([(0, middle), *zip(x, pushed, strict=True), (length, middle)], "#e88e2c88")
    canvas.polyline(np.stack([x, pushed], 1), "orange", 2.0)
    canvas.text((12, 16), title, 14, "ink", "lm", pixels=True)
    canvas.text((12, 346), "force", 12, "grey", "lm", pixels=True)
    return canvas.array()
