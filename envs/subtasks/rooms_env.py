"""``subtasks/rooms-v0`` and ``subtasks/rooms-two-doors-v0``: the agent's view of the rooms."""

from __future__ import annotations

import numpy as np

from envs.core import ModelEnv, ModelVectorEnv, State, check_choice
from envs.subtasks.env import SubtaskModel, task_source
from envs.subtasks.rooms import BACKENDS, RoomsGame


class Rooms(SubtaskModel):
    """Cross rooms; the subtasks are the sides to leave them by.

    Args:
        k: Rooms in a task.
        limit: Steps allowed in a room.
        bonus: Added to the reward of the step that leaves a room on the right side.
        task: ``uniform``, or a list of ``left``, ``right``, ``up``.
        wide: Start anywhere in the inner half of the entrance instead of its right half's edge.
        reference_limits: Allow ``limit + 1`` steps, as the published code does.
        jump_obs: Give ``info["jump_obs"]``.
        backend: ``numpy``, or ``numba`` for a compiled loop (the same numbers).
    """

    id = "subtasks/rooms-v0"
    render_fps = 8
    two_doors = False

    def __init__(
        self,
        k: int = 5,
        limit: int = 25,
        bonus: float = 25.0,
        task: str | list[str] = "uniform",
        wide: bool = False,
        reference_limits: bool = False,
        jump_obs: bool = True,
        backend: str = "numpy",
    ) -> None:
        check_choice(self.id, "backend", backend, BACKENDS)
        game = RoomsGame(self.two_doors, backend)
        source = task_source(self.id, game, task)
        super().__init__(game, k, limit, bonus, source, wide, reference_limits, jump_obs)

    def positions(self, states: np.ndarray) -> np.ndarray:
        """Return the positions, ``[n, 2]``."""
        return states[..., 2:]

    def render(self, state: State) -> np.ndarray:
        """Draw the room from above, the way in it, and what is to come."""
        from envs.subtasks.pictures import rooms_picture

        return rooms_picture(self, state)


class TwoDoorRooms(Rooms):
    """Rooms with two upper doors, of which the left one leads into a trap, and without a lane.

    Args:
        k: Rooms in a task.
        limit: Steps allowed in a room.
        bonus: Added to the reward of the step that leaves a room on the right side.
        task: ``uniform``, or a list of ``left``, ``right``, ``up``.
        wide: Start anywhere in the inner half of the entrance instead of its edge.
        reference_limits: Allow ``limit + 1`` steps, as the published code does.
        jump_obs: Give ``info["jump_obs"]``.
        backend: ``numpy``, or ``numba`` for a compiled loop (the same numbers).
    """

    id = "subtasks/rooms-two-doors-v0"
    two_doors = True


class RoomsEnv(ModelEnv):
    """See :class:`Rooms`."""

    model_type = Rooms


class RoomsVectorEnv(ModelVectorEnv):
    """See :class:`Rooms`."""

    model_type = Rooms


class TwoDoorRoomsEnv(ModelEnv):
    """See :class:`TwoDoorRooms`."""

    model_type = TwoDoorRooms


class TwoDoorRoomsVectorEnv(ModelVectorEnv):
    """See :class:`TwoDoorRooms`."""

    model_type = TwoDoorRooms
