"""A car as a kinematic bicycle, its path under one action in closed form.

    V' = k (V* - V),   x' = V cos h,   y' = V sin h,   h' = V tan(delta) / L

with the speed V* = 0.2 (16 - 4) m/s that the constant throttle leads to, k = 1.633/s, wheelbase
L = 0.45 m. With the distance d(t) = V* t + (V0 - V*) (1 - exp(-k t)) / k driven, the heading is
h0 + c d for the curvature c = tan(delta) / L, and the position is d sin(c d / 2) / (c d / 2) from
the start, in the direction h0 + c d / 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

WHEELBASE = 0.45
STEERING = math.radians(20.0)
RATE = 1.633
SPEED = 0.2 * (16.0 - 4.0)
STEP = 0.1
POINTS = 100

TIMES = np.linspace(0.0, STEP, POINTS)
"""When the car is held against the walls, in s."""
DECAY = np.exp(-RATE * TIMES)


def drive(
    state: np.ndarray, action: np.ndarray, times: np.ndarray = TIMES, decay: np.ndarray = DECAY
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, speed and heading at ``times``, each ``[n, t]``.

    Args:
        state: ``[n, 4]``: x, y in m, speed in m/s, heading in rad.
        action: ``[n]``, steering over 20 degrees, positive to the left.
        times: In s.
        decay: ``exp(-k times)``.
    """
    x, y, speed, heading = (state[:, k : k + 1] for k in range(4))
    curvature = np.tan(np.asarray(action, np.float64) * STEERING)[:, None] * (1.0 / WHEELBASE)
    distance = SPEED * times + (speed - SPEED) * ((1.0 - decay) * (1.0 / RATE))
    half = curvature * distance * 0.5
    chord = distance * sinc(half)
    along = heading + half
    fast = SPEED + (speed - SPEED) * decay
    return x + chord * np.cos(along), y + chord * np.sin(along), fast, heading + 2.0 * half


def sinc(angle: Any) -> Any:
    """Return sin(angle) / angle, by its series near 0."""
    square = angle * angle
    series = 1.0 - square * (1.0 / 6.0) * (1.0 - square * (1.0 / 20.0))
    small = square < 1e-6
    return np.where(small, series, np.sin(angle) / np.where(small, 1.0, angle))
