"""The rooms' geometry compiled, for ``backend="numba"``: twin of :mod:`envs.subtasks.walls`.

One loop over the rows with the comparisons and sums of the NumPy form in the same order, so that
both give the same bits. Without numba this module raises an ``ImportError`` that says what to
install.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

try:
    from envs.core.numba_cache import kernel
except ImportError as error:  # pragma: no cover - numba is installed where the tests run
    raise ImportError("backend='numba' needs numba: pip install 'rlcore[fast]'") from error

from envs.subtasks.walls import (
    EXIT,
    INNER,
    LANE_LEFT,
    LANE_RIGHT,
    LANE_TOP,
    OUTER,
    Interval,
    Walls,
)

AXES, SIDES = (0, 0, 1, 1), (-1.0, 1.0, -1.0, 1.0)
"""Of the walls left, right, below, above: the axis they stand across, and on which side."""

CLOSED = (1.0, -1.0)
"""A door that nothing passes: walls with fewer doors than others have these in addition."""


def doors(walls: Walls) -> np.ndarray:
    """Return the doors of the four walls, ``[4, most, 2]``."""
    all_walls: Sequence[Sequence[Interval]] = (walls.left, walls.right, walls.bottom, walls.top)
    most = max(map(len, all_walls))
    return np.array([[*wall, *[CLOSED] * (most - len(wall))] for wall in all_walls])


def judge(
    walls: np.ndarray,
    lane: bool,
    goals: np.ndarray,
    weights: tuple[float, float],
    subtask: np.ndarray,
    moves: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rewards of moves, whether they are safe, and whether they end in an exit.

    Args:
        walls: See :func:`doors`.
        lane: Whether there is a side lane.
        goals: Two goals of each of the three subtasks, ``[3, 2, 2]``.
        weights: Reward of a unit of distance and of an unsafe move.
        subtask: ``[n]``.
        moves: Previous position and position, ``[n, 4]``.
    """
    n = len(moves)
    reward, safe, left = np.empty(n), np.empty(n, bool), np.empty(n, bool)
    _judge(walls, lane, goals, weights, subtask, moves, reward, safe, left)
    return reward, safe, left


@kernel(nogil=True, error_model="numpy")
def _judge(walls, lane, goals, weights, subtask, moves, reward, safe, left):  # type: ignore[no-untyped-def]
    for i in range(len(moves)):
        x, y, which = moves[i, 2], moves[i, 3], subtask[i]
        safe[i] = _free(walls, lane, moves[i])
        near = _reach(goals[which, 0], x, y, weights[0])
        reward[i] = max(near, _reach(goals[which, 1], x, y, weights[0]))
        if not safe[i]:
            reward[i] += weights[1]
        ahead = y if which == 2 else (x if which == 1 else -x)
        left[i] = safe[i] and ahead > EXIT


@kernel(nogil=True, error_model="numpy")
def _reach(goal, x, y, weight):  # type: ignore[no-untyped-def]
    dx, dy = x - goal[0], y - goal[1]
    return math.sqrt(dx * dx + dy * dy) * weight


@kernel(nogil=True, error_model="numpy")
def _free(walls, lane, move):  # type: ignore[no-untyped-def]
    """Return whether a move stays clear of the walls; see :meth:`Walls.safe`."""
    inside = max(abs(move[2]), abs(move[3])) <= INNER
    free = inside
    if not (inside and max(abs(move[0]), abs(move[1])) <= INNER):
        for wall in range(4):
            axis, side = AXES[wall], SIDES[wall]
            if side * move[axis] <= INNER and side * move[2 + axis] <= INNER:
                continue
            if not _passes(walls[wall], move, axis, side):
                return False
            free |= INNER < side * move[2 + axis] <= OUTER
    if lane and free and min(move[1], move[3]) < LANE_TOP:
        return not _crosses(move)
    return free


@kernel(nogil=True, error_model="numpy")
def _passes(wall, move, axis, side):  # type: ignore[no-untyped-def]
    """Return whether the part of a move beyond a wall's surface lies within one door."""
    first, last = move[1 - axis], move[3 - axis]
    if side * move[axis] <= INNER:
        first = _coordinate(move, axis, side * INNER)
    elif side * move[2 + axis] <= INNER:
        last = _coordinate(move, axis, side * INNER)
    low, high = min(first, last), max(first, last)
    for door in range(len(wall)):  # noqa: SIM110 - numba has no generators
        if low >= wall[door, 0] and high <= wall[door, 1]:
            return True
    return False


@kernel(nogil=True, error_model="numpy")
def _crosses(move):  # type: ignore[no-untyped-def]
    """Return whether a move crosses the lane's roof or its right-hand side."""
    if (move[1] < LANE_TOP) != (move[3] < LANE_TOP):
        x = _coordinate(move, 1, LANE_TOP)
        if LANE_LEFT < x <= LANE_RIGHT:
            return True
    if (move[0] < LANE_RIGHT) != (move[2] < LANE_RIGHT):
        return _coordinate(move, 0, LANE_RIGHT) <= LANE_TOP
    return False


@kernel(nogil=True, error_model="numpy")
def _coordinate(move, axis, value):  # type: ignore[no-untyped-def]
    """Return the other coordinate of where a move passes the line ``axis = value``."""
    share = (value - move[axis]) / (move[2 + axis] - move[axis])
    return move[1 - axis] + share * (move[3 - axis] - move[1 - axis])
