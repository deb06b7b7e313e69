"""The T-maze: a cue in the first observation says which arm holds the prize at the far end.

Bakker (2001), "Reinforcement learning with long short-term memory". The corridor is ``length``
cells long; the junction lies at its end, with an arm to the north and one to the south.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer

NORTH, EAST, SOUTH, WEST = range(4)
PRIZE, WRONG, BUMP = 1.0, -0.1, -0.01


class TMaze(Model):
    """Remember the cue all the way down the corridor, then turn that way.

    Actions: 0 north, 1 east, 2 south, 3 west. The observation is one-hot: cue north, cue south,
    corridor, junction; a cue is seen only before the first action. The right arm is worth +1, the
    wrong one -0.1, and both end the episode; walking into a wall costs 0.01.

    No policy without memory exceeds (1 - 0.1) / 2 = 0.45 in expectation: what it does at the
    junction cannot depend on the cue.

    Args:
        length: Cells from the start to the junction.
    """

    id = "memory/t-maze-v0"
    render_fps = 8

    def __init__(self, length: int = 20) -> None:
        self.length = check_integer(self.id, "length", length, 5, 1000)
        self.observation_space = spaces.Box(0.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Discrete(4)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Stand at the start; the prize is north or south with equal chance."""
        south = np.array([int(rng.integers(2)) for rng in rngs])
        n = len(rngs)
        return {"south": south, "place": np.zeros(n, np.int64), "steps": np.zeros(n, np.int64)}

    def observe(self, state: State) -> np.ndarray:
        """Return the one-hot observation, float32 ``[n, 4]``."""
        seen = np.where(state["place"] == self.length, 3, 2)
        seen = np.where(state["steps"] == 0, state["south"], seen)
        obs = np.zeros((len(seen), 4), np.float32)
        obs[np.arange(len(seen)), seen] = 1.0
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Move by a cell, into a wall, or into an arm."""
        place = state["place"]
        sideways = (actions == NORTH) | (actions == SOUTH)
        turned = sideways & (place == self.length)
        right = turned & ((actions == SOUTH) == (state["south"] == 1))
        moved = place + (actions == EAST) - (actions == WEST)
        free = (moved >= 0) & (moved <= self.length) & ~sideways
        reward = np.where(free, 0.0, BUMP)
        reward = np.where(turned, np.where(right, PRIZE, WRONG), reward)
        state = {
            "south": state["south"],
            "place": np.where(free, moved, place),
            "steps": state["steps"] + 1,
        }
        return Outcome(state, reward, turned, {"success": right.astype(np.int64)})

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``success``: no prize yet."""
        return {"success": np.zeros(len(state["place"]), np.int64)}

    def render(self, state: State) -> np.ndarray:
        """Draw the maze from above."""
        from envs.memory.pictures import t_maze_picture

        row = {name: int(array[0]) for name, array in state.items()}
        return t_maze_picture(self.length, row["place"], bool(row["south"]), row["steps"] == 0)


class TMazeEnv(ModelEnv):
    """See :class:`TMaze`."""

    model_type = TMaze


class TMazeVectorEnv(ModelVectorEnv):
    """See :class:`TMaze`."""

    model_type = TMaze
