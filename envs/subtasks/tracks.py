"""The five pieces of track of ``f110-turn-v0``: walls, starts, goals, and their distances.

Every piece is a hall of constant width with its start on the y axis, heading up (90 degrees), and
its goal just behind the corner, which lies at the origin. Left pieces are right ones mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RANGE = 5.0
"""Range of the LiDAR in m."""

HALL = 1.5
"""Width of the hall in m."""

LENGTH = 10.0
"""Of the straight piece in m."""

BEFORE = 6.0
"""From the start to the corner in m."""

NAMES = ("straight", "square-right", "square-left", "sharp-right", "sharp-left")


@dataclass(frozen=True)
class Track:
    """One piece of track.

    Attributes:
        name: One of :data:`NAMES`.
        walls: The two walls, polylines ``[corners, 2]``.
        start: ``(x, y, heading)`` in m and rad.
        goal: ``(x, y, heading)``; the goal is crossed once x (y on the straight) is reached within
            the hall.
        side: 1 for right and straight pieces, -1 for mirrored ones.
        turn: Heading lost from start to goal in a right piece, in rad.
    """

    name: str
    walls: tuple[np.ndarray, np.ndarray]
    start: tuple[float, float, float]
    goal: tuple[float, float, float]
    side: float
    turn: float

    def segments(self) -> np.ndarray:
        """Return the walls' segments ``[s, 4]``: x, y of both ends."""
        parts = [np.hstack([wall[:-1], wall[1:]]) for wall in self.walls]
        return np.concatenate(parts)

    def clearance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distance from the nearest wall, of the shape of ``x`` and ``y``."""
        squares: np.ndarray | None = None
        for x0, y0, x1, y1 in self.segments().tolist():
            dx, dy = x1 - x0, y1 - y0
            px, py = x - x0, y - y0
            along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
            px, py = px - along * dx, py - along * dy
            found = px * px + py * py
            squares = found if squares is None else np.minimum(squares, found)
        assert squares is not None
        distance: np.ndarray = np.sqrt(squares)
        return distance

    def reached(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return whether positions are beyond the goal line and within the hall."""
        half = HALL / 2
        if self.turn == 0.0:
            ahead: np.ndarray = (y >= 0.0) & (np.abs(x) <= half)
            return ahead
        x = self.side * x
        # Distance from the middle of the hall behind the corner, whose heading is 90 deg - turn.
        aside = y * math.sin(self.turn) - x * math.cos(self.turn)
        return (x >= half) & (np.abs(aside) <= half)


def _track(name: str) -> Track:
    half, root = HALL / 2, math.sqrt(3.0)
    up = math.pi / 2
    if name == "straight":
        ends = (-LENGTH - RANGE, RANGE)
        walls = [[(side * half, end) for end in ends] for side in (-1, 1)]
        return Track(name, _arrays(walls, 1), (0.0, -LENGTH, up), (0.0, 0.0, up), 1.0, 0.0)
    side = -1.0 if name.endswith("left") else 1.0
    if name.startswith("square"):
        turn, far = math.pi / 2, RANGE + 2
        outer = [(-half, -2 * RANGE), (-half, half), (far, half)]
        inner = [(half, -2 * RANGE), (half, -half), (far, -half)]
        goal_y = 0.0
    else:
        turn = 2 * math.pi / 3
        outer = [
            (-half, -2 * RANGE),
            (-half, half),
            ((2 - root) * half, half),
            (RANGE, (HALL - RANGE) / root),
        ]
        inner = [
            (half, -2 * RANGE),
            (half, -root * half),
            (RANGE, (-HALL - RANGE) / root),
        ]
        goal_y = -half / root
    heading = up - turn if side > 0 else up + turn
    return Track(
        name,
        _arrays([outer, inner], side),
        (0.0, -BEFORE, up),
        (side * half, goal_y, heading),
        side,
        turn,
    )


def _arrays(walls: list[list[tuple[float, float]]], side: float) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.array(wall) * (side, 1.0) for wall in walls)
    return first, second


TRACKS = tuple(_track(name) for name in NAMES)


def scan(track: Track, state: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return what a LiDAR measures.

    The walls are turned into the car's frame. A ray with direction r meets the segment from p to q
    if the cross products p x r and q x r differ in sign, at the distance (p x q) / (p x r - q x r)
    (negative behind the car). Signs are compared half-open, so that neighbouring segments leave no
    gap, a wall that a ray runs along is not met by it, and nothing is divided by zero.

    Args:
        track: Where the cars are.
        state: ``[n, d]``, first x, y, speed, heading.
        rays: Directions ``[2, r]`` in the car's frame, unit vectors.

    Returns:
        Float64 ``[n, r]``, at most :data:`RANGE`.
    """
    measured = np.full((len(state), rays.shape[1]), RANGE)
    rows = max(1, 40_000 // rays.shape[1])  # so that a block and its parts stay in the cache
    for low in range(0, len(state), rows):
        part = state[low : low + rows]
        for wall in track.walls:
            _scan_wall(wall, part, rays, measured[low : low + rows])
    return measured


def _scan_wall(wall: np.ndarray, state: np.ndarray, rays: np.ndarray, measured: np.ndarray) -> None:
    """Lower ``measured`` ``[n, r]`` to the distances from one wall."""
    cosine, sine = np.cos(state[:, 3]), np.sin(state[:, 3])
    px = py = cross = side = None
    for x, y in wall.tolist():
        dx, dy = x - state[:, 0], y - state[:, 1]
        qx, qy = dx * cosine + dy * sine, dy * cosine - dx * sine
        crossed = qx[:, None] * rays[1] - qy[:, None] * rays[0]
        below = crossed < 0.0
        if cross is not None:
            gap = cross - crossed
            met = below != side
            area = px * qy - py * qx
            distance = np.full_like(measured, np.inf)
            np.divide(area[:, None], gap, out=distance, where=met)
            distance[distance < 1e-10] = np.inf  # behind the car
            np.minimum(measured, distance, out=measured)
        px, py, cross, side = qx, qy, crossed, below
