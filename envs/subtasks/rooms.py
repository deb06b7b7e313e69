"""Rooms with a door on each side: leave to the left, to the right, or upwards; always enter below.

The left half of the entrance leads into a side lane that must be left sideways, so where one room
is left decides how hard the next one is. After Jothimurugan et al. (2023), section 5, and the
parameters of their published environment.
"""

from __future__ import annotations

import math

import numpy as np
from gymnasium import spaces

from envs.core import check_choice
from envs.subtasks.game import Subtask, SubtaskGame
from envs.subtasks.walls import EXIT, INNER, ONE_DOOR, OUTER, TWO_DOORS, Walls

NAMES = ("left", "right", "up")
DIRECTIONS = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
SPEED, ANGLE = 1.0, math.pi / 2
REWARD_SCALE, UNSAFE_REWARD = 10.0, -25.0
BACKENDS = ("numpy", "numba")
SHIFT = 10.0
"""From the middle of a wall to the middle of the wall opposite: one room with one wall."""

TRAP = (-6.0, -6.0)
"""Where the left one of two upper doors leads: inside the walls, so that every move is unsafe."""


class Room(Subtask):
    """Leave the room by one side; a state is (previous position, position), ``[..., 4]``.

    Args:
        name: ``left``, ``right`` or ``up``.
        walls: Of the room.
    """

    draws = 1

    def __init__(self, name: str, walls: Walls) -> None:
        self.name = name
        self.walls = walls
        self.direction = DIRECTIONS[NAMES.index(name)]
        doors = (walls.left, walls.right, walls.top)[NAMES.index(name)]
        middles = [sum(door) / 2 for door in doors]
        across = np.abs(self.direction[::-1])
        self.goals = np.array([EXIT * self.direction + middle * across for middle in middles])

    def place(self, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return starts in the entrance.

        A nominal one lies on the edge between door and room, in its right half if there is a lane;
        a wide one anywhere in the inner half of the door.
        """
        low, high = self.walls.bottom[0]
        if self.walls.lane and not wide:
            low = (low + high) / 2
        # One number of 53 random bits makes both coordinates: generators are the slow part.
        share = uniforms[..., 0]
        x = low + (high - low) * share
        y = -EXIT + (share * 2.0**26) % 1.0 if wide else np.full_like(x, -INNER)
        return np.stack([x, y, x, y], -1)

    def step(
        self, state: np.ndarray, action: np.ndarray, uniforms: np.ndarray | None = None
    ) -> np.ndarray:
        """Move by speed (cos, sin) of the angle; ``action`` is (speed, angle / (pi/2))."""
        return move(np.asarray(state, np.float64), action)

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the position over 6, float32 ``[..., 2]``."""
        return observe(state)

    def reward(self, state: np.ndarray, action: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Return -|goal - position| / 10, minus 25 if the move is unsafe."""
        return self.reach(following) + np.where(self.is_safe(following), 0.0, UNSAFE_REWARD)

    def reach(self, state: np.ndarray) -> np.ndarray:
        """Return minus the distance from the nearest goal, over 10."""
        x, y = state[..., 2], state[..., 3]
        away = [np.sqrt((x - gx) ** 2 + (y - gy) ** 2) for gx, gy in self.goals]
        nearest: np.ndarray = np.min(away, 0) * (-1.0 / REWARD_SCALE)
        return nearest

    def is_safe(self, state: np.ndarray) -> np.ndarray:
        """Return whether the move from the previous position stayed clear of the walls."""
        return self.walls.safe(state[..., :2], state[..., 2:])

    def in_exit(self, state: np.ndarray) -> np.ndarray:
        """Return whether the position is beyond the middle of the wall on this subtask's side."""
        exits: np.ndarray = state[..., 2:] @ self.direction > EXIT
        return exits


def move(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the states after one move."""
    speed = SPEED * action[..., 0].astype(np.float64)
    angle = ANGLE * action[..., 1].astype(np.float64)
    x, y = state[..., 2], state[..., 3]
    across, along = x + speed * np.cos(angle), y + speed * np.sin(angle)
    following = np.empty((*across.shape, 4))
    # A column at a time: NumPy is slow along axes of two.
    following[..., 0], following[..., 1] = x, y
    following[..., 2], following[..., 3] = across, along
    return following


def observe(state: np.ndarray) -> np.ndarray:
    """Return positions over 6, float32 ``[..., 2]``."""
    seen = np.empty((*state.shape[:-1], 2), np.float32)
    for axis in range(2):
        seen[..., axis] = state[..., 2 + axis] * (1.0 / OUTER)
    return seen


def jump_through(source: np.ndarray, target: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return exit states in the next room's frame, which does not depend on the next subtask.

    left: (y, -x) - (0, 10); right: (-y, x) - (0, 10); up: (x, y) - (0, 10).
    """
    x, y = states[:, 0::2], states[:, 1::2]
    left, right = (source == 0)[:, None], (source == 1)[:, None]
    jumped = np.empty_like(states)
    jumped[:, 0::2] = np.where(left, y, np.where(right, -y, x))
    jumped[:, 1::2] = np.where(left, -x, np.where(right, x, y)) - SHIFT
    return jumped


def jump_two_doors(source: np.ndarray, target: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return exit states in the next room's frame; of the two upper doors only one leads there.

    The right one shifts by (-2, -10); the left one leads into :data:`TRAP`.
    """
    jumped = jump_through(source, target, states)
    up = source == 2
    door = TWO_DOORS.top[1]
    jumped[up, 0::2] -= sum(door) / 2
    jumped[up & (states[:, 2] < door[0])] = TRAP * 2
    return jumped


class RoomsGame(SubtaskGame):
    """The three subtasks of a room; all rows are stepped together, whatever their subtask.

    Args:
        two_doors: Two upper doors and no lane, instead of one door and the lane.
        backend: ``numpy``, or ``numba`` for a compiled loop (the same numbers).

    Raises:
        ValueError: There is no such backend.
    """

    def __init__(self, two_doors: bool = False, backend: str = "numpy") -> None:
        self.backend = check_choice("RoomsGame", "backend", backend, BACKENDS)
        self.walls = TWO_DOORS if two_doors else ONE_DOOR
        self.rooms = [Room(name, self.walls) for name in NAMES]
        # The second goal of a subtask that has but one is the first again.
        self._goals = np.array([[room.goals[0], room.goals[-1]] for room in self.rooms])
        super().__init__(
            self.rooms,
            jump_two_doors if two_doors else jump_through,
            spaces.Box(-2.0, 2.0, (2,), np.float32),
            spaces.Box(-1.0, 1.0, (2,), np.float32),
            [-OUTER - 1] * 4,
            [OUTER + 1] * 4,
        )

    def place(self, subtask: np.ndarray, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return starts; they are the same for every subtask."""
        return self.rooms[0].place(uniforms, wide)

    def advance(
        self,
        subtask: np.ndarray,
        states: np.ndarray,
        actions: np.ndarray,
        uniforms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Take one step in every row; see :meth:`SubtaskGame.advance`."""
        return self.judge(subtask, move(states, actions))

    def judge(
        self, subtask: np.ndarray, following: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return ``following`` with its rewards, whether safe, whether at an exit."""
        if self.backend == "numba":
            from envs.subtasks import numba_rooms

            walls = numba_rooms.doors(self.walls), self.walls.lane
            weights = -1.0 / REWARD_SCALE, UNSAFE_REWARD
            found = numba_rooms.judge(*walls, self._goals, weights, subtask, following)
            return following, *found
        safe = self.walls.safe(following[:, :2], following[:, 2:])
        x, y = np.ascontiguousarray(following[:, 2]), np.ascontiguousarray(following[:, 3])
        reward = _reach(self._goals[:, 0], subtask, x, y)
        if len(self.walls.top) > 1:
            reward = np.maximum(reward, _reach(self._goals[:, 1], subtask, x, y))
        reward[~safe] += UNSAFE_REWARD
        beyond = DIRECTIONS[:, 0].take(subtask) * x + DIRECTIONS[:, 1].take(subtask) * y > EXIT
        return following, reward, safe, beyond & safe

    def observe(self, subtask: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the positions over 6, float32 ``[n, 2]``."""
        return observe(states)


def _reach(goals: np.ndarray, subtask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx, dy = x - goals[:, 0].take(subtask), y - goals[:, 1].take(subtask)
    distance: np.ndarray = np.sqrt(dx * dx + dy * dy)
    distance *= -1.0 / REWARD_SCALE
    return distance


def rooms_game(two_doors: bool = False, backend: str = "numpy") -> RoomsGame:
    """Return the game of ``rooms-v0``, or of ``rooms-two-doors-v0``."""
    return RoomsGame(two_doors, backend)
