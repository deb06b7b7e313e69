"""Rooms on a grid of 12 x 12 cells, small enough to be solved exactly.

Moves are one cell to the left, right, up or down; the walls, the lane, the exits, the jumps and the
rewards are those of :mod:`envs.subtasks.rooms`, between the cells' middles.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from envs.core import ModelEnv, ModelVectorEnv, State, check_number
from envs.subtasks.env import SubtaskModel, task_source
from envs.subtasks.game import SubtaskGame
from envs.subtasks.rooms import NAMES, Room, RoomsGame, jump_through
from envs.subtasks.walls import ONE_DOOR, OUTER

SIZE = 12
MOVES = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
"""Displacements of the actions left, right, up, down."""


def cell(state: np.ndarray) -> np.ndarray:
    """Return the cell numbers ``12 row + column`` of states ``[..., 4]``, int64 ``[...]``."""
    column = np.floor(state[..., 2] + OUTER).astype(np.int64)
    row = np.floor(state[..., 3] + OUTER).astype(np.int64)
    numbers: np.ndarray = np.clip(row, 0, SIZE - 1) * SIZE + np.clip(column, 0, SIZE - 1)
    return numbers


def middle(cells: np.ndarray) -> np.ndarray:
    """Return states ``[..., 4]`` that rest in the middles of cells."""
    x, y = cells % SIZE + 0.5 - OUTER, cells // SIZE + 0.5 - OUTER
    return np.stack([x, y, x, y], -1).astype(np.float64)


class GridRoom(Room):
    """A room of cells.

    Args:
        name: ``left``, ``right`` or ``up``.
        slip: Chance that a move goes in a direction drawn from all four instead.
    """

    draws = 1
    step_draws = 1

    def __init__(self, name: str, slip: float) -> None:
        super().__init__(name, ONE_DOOR)
        self.slip = slip

    def place(self, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return the cell right of the entrance's middle, or (wide) either of its two cells."""
        left = (uniforms[..., 0] < 0.5) if wide else np.zeros(uniforms.shape[:-1], bool)
        return middle(np.where(left, SIZE + 5, SIZE + 6))

    def step(
        self, state: np.ndarray, action: np.ndarray, uniforms: np.ndarray | None = None
    ) -> np.ndarray:
        """Move one cell.

        With u the uniform number: the direction is number ``floor(4 u / slip)`` if u < slip, else
        the action's.
        """
        action = np.asarray(action)
        if self.slip > 0 and uniforms is not None:
            u = uniforms[..., 0]
            drawn = np.minimum(u * (len(MOVES) / self.slip), len(MOVES) - 1).astype(np.int64)
            action = np.where(u < self.slip, drawn, action)
        return np.concatenate([state[..., 2:], state[..., 2:] + MOVES[action]], -1)

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the cell number, int64 ``[...]``."""
        return cell(state)


class GridRoomsGame(RoomsGame):
    """The three subtasks of a room of cells.

    Args:
        slip: Chance that a move goes in a direction drawn from all four instead.
    """

    def __init__(self, slip: float = 0.1) -> None:
        super().__init__()
        self.slip = slip
        rooms = [GridRoom(name, slip) for name in NAMES]
        bound = [OUTER + 1] * 4
        SubtaskGame.__init__(
            self,
            rooms,
            jump_through,
            spaces.Discrete(SIZE * SIZE),
            spaces.Discrete(len(MOVES)),
            [-b for b in bound],
            bound,
        )
        self.rooms = list(rooms)

    def advance(
        self,
        subtask: np.ndarray,
        states: np.ndarray,
        actions: np.ndarray,
        uniforms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Take one step in every row; see :meth:`SubtaskGame.advance`."""
        return self.judge(subtask, self.rooms[0].step(states, actions, uniforms))

    def observe(self, subtask: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the cell numbers, int64 ``[n]``."""
        return cell(states)


class GridRooms(SubtaskModel):
    """Cross rooms cell by cell; the observation is the number of the cell.

    Args:
        k: Rooms in a task.
        limit: Steps allowed in a room.
        bonus: Added to the reward of the step that leaves a room on the right side.
        task: ``uniform``, or a list of ``left``, ``right``, ``up``.
        slip: Chance that a move goes in a direction drawn from all four instead.
        wide: Start in either cell of the entrance, not only in the right one.
        reference_limits: Allow ``limit + 1`` steps, as the published code does for ``rooms-v0``.
        jump_obs: Give ``info["jump_obs"]``.
    """

    id = "subtasks/grid-rooms-v0"
    render_fps = 6

    def __init__(
        self,
        k: int = 5,
        limit: int = 50,
        bonus: float = 25.0,
        task: str | list[str] = "uniform",
        slip: float = 0.1,
        wide: bool = False,
        reference_limits: bool = False,
        jump_obs: bool = True,
    ) -> None:
        game = GridRoomsGame(check_number(self.id, "slip", slip, 0.0, 1.0))
        source = task_source(self.id, game, task)
        super().__init__(game, k, limit, bonus, source, wide, reference_limits, jump_obs)

    def positions(self, states: np.ndarray) -> np.ndarray:
        """Return the cells' middles, ``[n, 2]``."""
        return states[..., 2:]

    def render(self, state: State) -> np.ndarray:
        """Draw the room from above with its cells."""
        from envs.subtasks.pictures import rooms_picture

        return rooms_picture(self, state)


class GridRoomsEnv(ModelEnv):
    """See :class:`GridRooms`."""

    model_type = GridRooms


class GridRoomsVectorEnv(ModelVectorEnv):
    """See :class:`GridRooms`."""

    model_type = GridRooms
