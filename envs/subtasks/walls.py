"""Geometry of one room: a square with doors in its walls and, maybe, a side lane at the entrance.

Coordinates count from the centre of the room: the room with its walls is [-6, 6]^2, the interior
[-4, 4]^2. The walls are 2 thick; a door is an interval on a side, as wide as it is deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OUTER, INNER, EXIT = 6.0, 4.0, 5.0
"""Half sizes: of the whole, of the interior, and of the line in mid-wall that ends a subtask."""

LANE_LEFT, LANE_RIGHT, LANE_TOP = -3.0, 0.0, -3.0
"""The lane {-3 < x < 0, y < -3} can only be left across x = -3."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Walls:
    """A room's walls.

    Attributes:
        left: Doors in the left wall, intervals of y.
        right: Doors in the right wall.
        bottom: Doors in the lower wall, intervals of x.
        top: Doors in the upper wall.
        lane: Whether a partition makes the left half of the entrance a side lane.
    """

    left: tuple[Interval, ...]
    right: tuple[Interval, ...]
    bottom: tuple[Interval, ...]
    top: tuple[Interval, ...]
    lane: bool

    def safe(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return whether straight moves stay clear of the walls.

        A point on a wall's surface is free. A move is free if it ends in the interior or in a
        door, if what lies of it beyond the surface of a wall lies within one door, and if it does
        not cross the partition.

        Args:
            start: ``[..., 2]``.
            end: ``[..., 2]``.

        Returns:
            Bool ``[...]``.
        """
        shape = np.broadcast_shapes(start.shape, end.shape)
        p = start if start.shape == shape and start.ndim == 2 else _rows(start, shape)
        q = end if end.shape == shape and end.ndim == 2 else _rows(end, shape)
        free = _inside(q)
        # Most moves lie in the interior, which is convex: only the others need a closer look.
        odd = (~(free & _inside(p))).nonzero()[0]
        if len(odd):
            free[odd] = self._passes(p[odd], q[odd], free[odd])
        if self.lane:
            low = (np.minimum(p[:, 1], q[:, 1]) < LANE_TOP).nonzero()[0]
            if len(low):
                free[low] &= ~_crosses_partition(p[low], q[low])
        return free.reshape(shape[:-1])

    def _passes(self, p: np.ndarray, q: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return which moves are free; ``free`` tells those that end in the interior."""
        clear = np.ones(len(free), bool)
        for axis, side, doors in (
            (0, -1, self.left),
            (0, 1, self.right),
            (1, -1, self.bottom),
            (1, 1, self.top),
        ):
            from_p, from_q = side * p[:, axis], side * q[:, axis]
            beyond = ((from_p > INNER) | (from_q > INNER)).nonzero()[0]
            if len(beyond):
                ends = from_p[beyond], from_q[beyond]
                passed = _passes_door(p[beyond], q[beyond], ends, axis, side * INNER, doors)
                clear[beyond] &= passed
                free[beyond] |= passed & (ends[1] > INNER) & (ends[1] <= OUTER)
        return free & clear


def _passes_door(
    p: np.ndarray,
    q: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    axis: int,
    surface: float,
    doors: Sequence[Interval],
) -> np.ndarray:
    """Return whether the part of each move beyond a wall's surface lies within one door.

    Args:
        p: Starts ``[n, 2]``.
        q: Ends ``[n, 2]``; one of both, at least, is beyond the surface.
        ends: How far starts and ends are on the wall's side, ``[n]`` each.
        axis: 0 for a wall on the left or right, 1 for a lower or upper one.
        surface: Where the surface is on that axis.
        doors: The wall's doors.
    """
    first, last = p[:, 1 - axis].copy(), q[:, 1 - axis].copy()
    inside_p, inside_q = ends[0] <= INNER, ends[1] <= INNER
    through = (inside_p | inside_q).nonzero()[0]
    if len(through):
        at = _coordinate(p[through], q[through], axis, surface)
        first[through] = np.where(inside_p[through], at, first[through])
        last[through] = np.where(inside_q[through], at, last[through])
    low, high = np.minimum(first, last), np.maximum(first, last)
    found = [(low >= left) & (high <= right) for left, right in doors]
    passed: np.ndarray = found[0] if len(found) == 1 else np.logical_or.reduce(found)
    return passed


def _rows(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(points, shape).reshape(-1, 2)


def _inside(p: np.ndarray) -> np.ndarray:
    inside: np.ndarray = np.maximum(np.abs(p[:, 0]), np.abs(p[:, 1])) <= INNER
    return inside


def _coordinate(p: np.ndarray, q: np.ndarray, axis: int, value: float) -> np.ndarray:
    """Return the other coordinate of where moves pass the line ``axis = value``."""
    share = (value - p[:, axis]) / (q[:, axis] - p[:, axis])
    other: np.ndarray = p[:, 1 - axis] + share * (q[:, 1 - axis] - p[:, 1 - axis])
    return other


def _crosses_partition(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return whether moves cross the lane's roof or its right-hand side.

    The sides are told apart by half-open tests, so that nothing slips through by stopping on the
    partition.
    """
    crosses = np.zeros(len(p), bool)
    roof = ((p[:, 1] < LANE_TOP) != (q[:, 1] < LANE_TOP)).nonzero()[0]
    if len(roof):
        x = _coordinate(p[roof], q[roof], 1, LANE_TOP)
        crosses[roof] = (x > LANE_LEFT) & (x <= LANE_RIGHT)
    side = ((p[:, 0] < LANE_RIGHT) != (q[:, 0] < LANE_RIGHT)).nonzero()[0]
    if len(side):
        crosses[side] |= _coordinate(p[side], q[side], 0, LANE_RIGHT) <= LANE_TOP
    return crosses


ONE_DOOR = Walls(
    left=((-1.0, 1.0),),
    right=((-1.0, 1.0),),
    bottom=((-1.0, 1.0),),
    top=((-1.0, 1.0),),
    lane=True,
)
TWO_DOORS = Walls(
    left=((-1.0, 1.0),),
    right=((-1.0, 1.0),),
    bottom=((-1.0, 1.0),),
    top=((-3.0, -1.0), (1.0, 3.0)),
    lane=False,
)
