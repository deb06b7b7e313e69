"""Compiled twins of the car and the LiDAR, for ``backend="numba"``.

One loop over the cars, on one core: a batch takes a millisecond, which threads would spend waiting
for each other. The formulas are those of the NumPy form, so that both agree up to rounding.
Without numba this module raises an ``ImportError`` that says what to install.
"""

from __future__ import annotations

import math

import numpy as np

try:
    from numba import njit
except ImportError as error:  # pragma: no cover - numba is installed where the tests run
    raise ImportError("backend='numba' needs numba: pip install 'rlcore[fast]'") from error

from envs.subtasks import bicycle, f110
from envs.subtasks.tracks import HALL, RANGE, TRACKS

_WALLS = np.zeros((len(TRACKS), 2, 4, 2))
_CORNERS = np.zeros((len(TRACKS), 2), np.int64)
for _k, _track in enumerate(TRACKS):
    for _w, _wall in enumerate(_track.walls):
        _WALLS[_k, _w, : len(_wall)] = _wall
        _CORNERS[_k, _w] = len(_wall)
_GOALS = np.array([track.goal for track in TRACKS])
_SIDES = np.array([track.side for track in TRACKS])
_TURNS = np.array([track.turn for track in TRACKS])
_HALF = HALL / 2
_TIMES, _DECAY = bicycle.TIMES, bicycle.DECAY
_SPEED, _RATE, _STEP = bicycle.SPEED, bicycle.RATE, bicycle.STEP
_STEERING, _WHEELBASE, _POINTS = bicycle.STEERING, bicycle.WHEELBASE, bicycle.POINTS
_SAFE, _STEP_REWARD, _PROGRESS = f110.SAFE, f110.STEP_REWARD, f110.PROGRESS
_CRASH = f110.CRASH_REWARD


@njit(nogil=True, error_model="numpy")
def _clearance(track: int, x: float, y: float) -> float:
    nearest = np.inf
    for wall in range(2):
        for k in range(_CORNERS[track, wall] - 1):
            x0, y0 = _WALLS[track, wall, k, 0], _WALLS[track, wall, k, 1]
            dx, dy = _WALLS[track, wall, k + 1, 0] - x0, _WALLS[track, wall, k + 1, 1] - y0
            px, py = x - x0, y - y0
            along = min(max((px * dx + py * dy) / (dx * dx + dy * dy), 0.0), 1.0)
            px, py = px - along * dx, py - along * dy
            nearest = min(nearest, px * px + py * py)
    return math.sqrt(nearest)


@njit(nogil=True, error_model="numpy")
def _drive(row: np.ndarray, curvature: float, at: int, out: np.ndarray) -> None:
    """Write x, y, speed, heading at instant ``at`` into ``out``."""
    speed = row[2]
    distance = _SPEED * _TIMES[at] + (speed - _SPEED) * ((1.0 - _DECAY[at]) * (1.0 / _RATE))
    half = curvature * distance * 0.5
    square = half * half
    if square < 1e-6:
        chord = distance * (1.0 - square * (1.0 / 6.0) * (1.0 - square * (1.0 / 20.0)))
    else:
        chord = distance * (math.sin(half) / half)
    along = row[3] + half
    out[0] = row[0] + chord * math.cos(along)
    out[1] = row[1] + chord * math.sin(along)
    out[2] = _SPEED + (speed - _SPEED) * _DECAY[at]
    out[3] = row[3] + 2.0 * half


@njit(nogil=True, error_model="numpy")
def _reached(track: int, x: float, y: float) -> bool:
    turn = _TURNS[track]
    if turn == 0.0:
        return y >= 0.0 and abs(x) <= _HALF
    x = _SIDES[track] * x
    aside = y * math.sin(turn) - x * math.cos(turn)
    return x >= _HALF and abs(aside) <= _HALF


@njit(nogil=True, error_model="numpy")
def _advance(
    subtask: np.ndarray,
    states: np.ndarray,
    steer: np.ndarray,
    following: np.ndarray,
    reward: np.ndarray,
    safe: np.ndarray,
    left: np.ndarray,
) -> None:
    for i in range(len(subtask)):
        track, row, out = subtask[i], states[i], following[i]
        curvature = math.tan(steer[i] * _STEERING) * (1.0 / _WHEELBASE)
        _drive(row, curvature, _POINTS - 1, out)
        safe[i] = True
        reach = _STEP * max(row[2], _SPEED) + _SAFE
        if _clearance(track, row[0], row[1]) <= reach + 1e-9:
            for at in range(_POINTS):
                _drive(row, curvature, at, out)
                if _clearance(track, out[0], out[1]) <= _SAFE:
                    safe[i] = False
                    break
        gx, gy = _GOALS[track, 0], _GOALS[track, 1]
        before = abs(row[0] - gx) + abs(row[1] - gy)
        after = abs(out[0] - gx) + abs(out[1] - gy)
        reward[i] = _STEP_REWARD + _PROGRESS * (before - after) if safe[i] else _CRASH
        left[i] = safe[i] and _reached(track, out[0], out[1])


@njit(nogil=True, error_model="numpy")
def _scan_segment(
    ends: tuple[float, float, float, float],
    right: np.ndarray,
    up: np.ndarray,
    scale: float,
    seen: np.ndarray,
) -> None:
    """Lower the distances ``seen`` ``[r]`` to those of one segment; a loop without branches."""
    px, py, qx, qy = ends
    area = px * qy - py * qx
    for r in range(len(right)):
        one = px * up[r] - py * right[r]
        other = qx * up[r] - qy * right[r]
        distance = area / (one - other)
        nearer = (distance >= 1e-10) & (np.float32(distance * scale) < seen[r])
        met = ((one < 0.0) ^ (other < 0.0)) & nearer
        seen[r] = np.float32(distance * scale) if met else seen[r]


@njit(nogil=True, error_model="numpy")
def _observe(
    subtask: np.ndarray,
    states: np.ndarray,
    right: np.ndarray,
    up: np.ndarray,
    scale: float,
    seen: np.ndarray,
) -> None:
    for i in range(len(subtask)):
        track, row = subtask[i], seen[i]
        cosine, sine = math.cos(states[i, 3]), math.sin(states[i, 3])
        row[:] = np.float32(RANGE * scale)
        for wall in range(2):
            px, py = 0.0, 0.0
            for k in range(_CORNERS[track, wall]):
                dx = _WALLS[track, wall, k, 0] - states[i, 0]
                dy = _WALLS[track, wall, k, 1] - states[i, 1]
                qx, qy = dx * cosine + dy * sine, dy * cosine - dx * sine
                if k > 0:
                    _scan_segment((px, py, qx, qy), right, up, scale, row)
                px, py = qx, qy


def advance(
    subtask: np.ndarray, states: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return next states, rewards, whether safe, whether at an exit; twin of ``F110Game``'s."""
    n = len(subtask)
    following, reward = np.empty((n, 4)), np.empty(n)
    safe, left = np.empty(n, np.bool_), np.empty(n, np.bool_)
    steer = actions[:, 0].astype(np.float64)
    _advance(subtask, np.ascontiguousarray(states), steer, following, reward, safe, left)
    return following, reward, safe, left


def observe(subtask: np.ndarray, states: np.ndarray, rays: np.ndarray, scaled: bool) -> np.ndarray:
    """Return the LiDAR's distances, float32 ``[n, n_rays]``; twin of ``tracks.scan``."""
    seen = np.empty((len(subtask), rays.shape[1]), np.float32)
    scale = 1.0 / RANGE if scaled else 1.0
    _observe(subtask, np.ascontiguousarray(states), rays[0], rays[1], scale, seen)
    return seen
