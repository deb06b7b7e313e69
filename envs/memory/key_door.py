"""A small maze of two rooms: fetch the key, open the door, reach the goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer

NORTH, EAST, SOUTH, WEST = range(4)
DOWN, RIGHT = np.array([-1, 0, 1, 0]), np.array([0, 1, 0, -1])
PLANES = ("agent", "wall", "key", "door", "goal")
GOAL, STEP = 1.0, -0.01


class KeyDoor(Model):
    """Two rooms and a locked door between them, drawn anew for each episode.

    Actions: 0 north, 1 east, 2 south, 3 west. Walking onto the key takes it, walking into the door
    with the key opens it. The goal is worth +1 and ends the episode; every step costs 0.01.

    The observation has five planes, 255 where there is: agent, wall, key, (closed) door, goal. A
    plane without its thing says that the key is taken or the door open, so the whole view needs no
    memory. With ``view`` the agent sees a square around itself only, through walls, and must
    remember what it has seen and whether it has the key.

    Args:
        size: Cells a side, the outer walls included.
        view: Side of the square that is seen, odd; None shows everything.
    """

    id = "memory/key-door-v0"
    render_fps = 8

    def __init__(self, size: int = 7, view: int | None = None) -> None:
        self.size = check_integer(self.id, "size", size, 5, 101)
        self.view = None if view is None else check_integer(self.id, "view", view, 3, 101)
        if self.view is not None and self.view % 2 == 0:
            raise ValueError(f"{self.id}: view must be odd, got {view}")
        side = self.view or self.size
        self.observation_space = spaces.Box(0, 255, (len(PLANES), side, side), np.uint8)
        self.action_space = spaces.Discrete(4)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw the wall between the rooms, its door, and where agent, key and goal are."""
        drawn = np.array([self._drawn(rng) for rng in rngs])
        names = (
            "row",
            "column",
            "key_row",
            "key_column",
            "wall",
            "door",
            "goal_row",
            "goal_column",
        )
        state = {name: drawn[:, k].copy() for k, name in enumerate(names)}
        return state | {name: np.zeros(len(rngs), bool) for name in ("has_key", "open")}

    def _drawn(self, rng: np.random.Generator) -> tuple[int, ...]:
        inside = self.size - 2
        wall = int(rng.integers(2, self.size - 2))
        door = int(rng.integers(1, self.size - 1))
        agent, key = (int(cell) for cell in rng.choice(inside * (wall - 1), 2, replace=False))
        goal = int(rng.integers(inside * (self.size - 2 - wall)))
        here = (1 + agent % inside, 1 + agent // inside, 1 + key % inside, 1 + key // inside)
        return (*here, wall, door, 1 + goal % inside, wall + 1 + goal // inside)

    def observe(self, state: State) -> np.ndarray:
        """Return the planes, uint8 ``[n, 5, side, side]``."""
        rows, n = np.arange(len(state["row"])), len(state["row"])
        reach = 0 if self.view is None else self.view // 2
        side = self.size + 2 * reach
        planes = np.zeros((n, len(PLANES), side, side), np.uint8)
        agent, wall, key, door, goal = (planes[:, k] for k in range(len(PLANES)))
        inner = slice(reach + 1, side - reach - 1)
        wall[:] = 255
        wall[:, inner, inner] = 0
        wall[rows, inner, reach + state["wall"]] = 255
        wall[rows, reach + state["door"], reach + state["wall"]] = 0
        agent[rows, reach + state["row"], reach + state["column"]] = 255
        lying = 255 * ~state["has_key"]
        key[rows, reach + state["key_row"], reach + state["key_column"]] = lying
        door[rows, reach + state["door"], reach + state["wall"]] = 255 * ~state["open"]
        goal[rows, reach + state["goal_row"], reach + state["goal_column"]] = 255
        if self.view is None:
            return planes
        window = np.arange(self.view)
        down = (state["row"][:, None] + window)[:, None, :, None]
        right = (state["column"][:, None] + window)[:, None, None, :]
        kinds = np.arange(len(PLANES))[None, :, None, None]
        return planes[rows[:, None, None, None], kinds, down, right]

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Move by a cell where nothing is in the way."""
        row, column = state["row"] + DOWN[actions], state["column"] + RIGHT[actions]
        border = (row < 1) | (row > self.size - 2) | (column < 1) | (column > self.size - 2)
        at_wall = column == state["wall"]
        at_door = at_wall & (row == state["door"])
        free = ~border & (~at_wall | (at_door & state["has_key"]))
        row, column = np.where(free, row, state["row"]), np.where(free, column, state["column"])
        has_key = state["has_key"] | ((row == state["key_row"]) & (column == state["key_column"]))
        opened = state["open"] | (at_door & free)
        there = (row == state["goal_row"]) & (column == state["goal_column"])
        reward = np.where(there, GOAL + STEP, STEP)
        state = state | {"row": row, "column": column, "has_key": has_key, "open": opened}
        return Outcome(state, reward, there, {"success": there.astype(np.int64)})

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``success``: not there yet."""
        return {"success": np.zeros(len(state["row"]), np.int64)}

    def render(self, state: State) -> np.ndarray:
        """Draw the rooms from above; with ``view``, what is out of sight is dimmed."""
        from envs.memory.pictures import key_door_picture

        row = {name: int(array[0]) for name, array in state.items()}
        return key_door_picture(row, self.size, self.view)


class KeyDoorEnv(ModelEnv):
    """See :class:`KeyDoor`."""

    model_type = KeyDoor


class KeyDoorVectorEnv(ModelVectorEnv):
    """See :class:`KeyDoor`."""

    model_type = KeyDoor
