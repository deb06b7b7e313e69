"""Scripted controllers of this family, for reference returns.

Each ``make_...`` is called with the plain environment and returns ``policy(obs, info) -> action``.
The batched controllers take ``(subtask [n], observations [n, o])`` and return actions ``[n, a]``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs.subtasks.bicycle import STEERING
from envs.subtasks.dynamic_programming import solve
from envs.subtasks.f110 import FIELD
from envs.subtasks.grid_rooms import GridRoomsGame
from envs.subtasks.walls import INNER, LANE_LEFT, LANE_RIGHT, LANE_TOP, OUTER

Policy = Callable[[Any, dict[str, Any]], Any]
GAP_FIELD, GAP_POWER, GAP_GAIN = math.radians(90.0), 3.0, 2.0
"""Of the controller of the car: rays it looks at, weight of long ones, steering per angle."""

Controller = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _single(controller: Controller) -> Policy:
    """Return a batched controller as a policy of one environment."""

    def policy(obs: Any, info: dict[str, Any]) -> Any:
        return controller(np.array([info["subtask"]]), np.asarray(obs)[None])[0]

    return policy


def make_rooms_controller(env: gymnasium.Env[Any, Any]) -> Policy:
    """Return the hand-written controller of ``rooms-v0`` and ``rooms-two-doors-v0``."""
    two_doors = len(env.unwrapped.model.game.walls.top) > 1  # type: ignore[attr-defined]
    return _single(two_doors_controller if two_doors else rooms_controller)


def rooms_controller(subtask: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """Go round the partition if in the side lane, then to the door's middle, then through it.

    It does not care in which half it leaves a door, so that other policies collect more: it often
    has to go through the lane.
    """
    position = obs.astype(np.float64) * OUTER
    target = _door_target(subtask, position, np.zeros(len(obs)))
    x, y = position[:, 0], position[:, 1]
    up = y < LANE_TOP + 0.1  # until the partition lies below
    target[up] = np.stack([np.maximum(x[up], LANE_RIGHT + 0.05), np.full(up.sum(), -2.4)], 1)
    lane = (x > LANE_LEFT) & (x < LANE_RIGHT) & (y < LANE_TOP)
    enter = lane & (y < -INNER + 0.1)
    target[enter] = np.stack([x[enter], np.full(enter.sum(), -3.4)], 1)
    along = lane & ~enter
    target[along] = (LANE_LEFT - 0.6, -3.4)
    beside = (x <= LANE_LEFT) & (y < LANE_TOP + 0.3)
    target[beside] = np.stack([x[beside], np.full(beside.sum(), LANE_TOP + 1.0)], 1)
    return towards(position, target)


def two_doors_controller(subtask: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """Go to the middle of the door and through it; upwards by the right door of the two."""
    position = obs.astype(np.float64) * OUTER
    target = _door_target(subtask, position, np.where(subtask == 2, 2.0, 0.0))
    inside = position[:, 1] < -INNER + 0.05
    target[inside] = np.stack([position[inside, 0], np.zeros(inside.sum())], 1)
    return towards(position, target)


def _door_target(subtask: np.ndarray, position: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return a point in front of the door, or beyond it once the way there is straight."""
    directions = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[subtask]
    across = np.abs(directions[:, ::-1])
    offset = np.abs((position * across).sum(1) - middle)
    depth = (position * directions).sum(1)
    through = (offset < 0.7) & (depth > 3.0) | (depth > INNER)
    reach = np.where(through, 7.0, 3.3)
    target: np.ndarray = directions * reach[:, None] + across * middle[:, None]
    return target


def towards(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the actions (speed, angle) that move towards ``target``, at most one unit.

    Angles reach over half a turn only: the other half is walked backwards, at negative speed.
    """
    away = target - position
    distance = np.minimum(np.hypot(away[:, 0], away[:, 1]), 1.0)
    angle = np.arctan2(away[:, 1], away[:, 0])
    back = np.abs(angle) > math.pi / 2
    angle = np.where(back, angle - np.sign(angle) * math.pi, angle)
    speed = np.where(back, -distance, distance)
    return np.stack([speed, angle / (math.pi / 2)], 1).astype(np.float32)


def follow_the_gap(subtask: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """Steer where the rays are long; the subtask is not looked at.

    Args:
        subtask: ``[n]``, ignored.
        obs: LiDAR distances ``[n, r]`` in m, from right to left.

    Returns:
        Steering ``[n, 1]``.
    """
    angles = np.linspace(-FIELD, FIELD, obs.shape[1])
    scan = obs.astype(np.float64)
    ahead = np.abs(angles) <= GAP_FIELD
    weight = scan[:, ahead] ** GAP_POWER
    aim = (weight * angles[ahead]).sum(1) / weight.sum(1)
    steer: np.ndarray = np.clip(GAP_GAIN * aim / STEERING, -1.0, 1.0)
    return steer[:, None].astype(np.float32)


def make_follow_the_gap(env: gymnasium.Env[Any, Any]) -> Policy:
    """Return :func:`follow_the_gap` as a policy of ``f110-turn-v0``."""
    scale = 5.0 if env.unwrapped.model.game.scaled else 1.0  # type: ignore[attr-defined]
    return lambda obs, info: follow_the_gap(np.zeros(1), np.asarray(obs)[None] * scale)[0]


def make_grid_optimal(env: gymnasium.Env[Any, Any]) -> Policy:
    """Return the policy of ``grid-rooms-v0`` that is best in the worst case (gamma 0.99)."""
    model = env.unwrapped.model  # type: ignore[attr-defined]
    actions = _grid_actions(model.game.slip, model.bonus)
    return lambda obs, info: int(actions[info["subtask"], obs])


@functools.cache
def _grid_actions(slip: float, bonus: float) -> np.ndarray:
    return solve(GridRoomsGame(slip), bonus=bonus, tolerance=1e-6).policy
