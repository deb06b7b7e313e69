"""Catch from pixels: a ball falls, a paddle at the bottom must be below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer


class Catch(Model):
    """Move the paddle under the ball; the only reward, +1 or -1, comes at the end.

    The ball starts in the top row in a random column and falls one row a step; the paddle, one
    pixel in the bottom row, starts in the middle. Actions: 0 left, 1 stay, 2 right; at the edge the
    paddle stays. The observation is a black and white image, 255 where ball and paddle are.

    Args:
        rows: Height of the image.
        columns: Width of the image; the paddle must be able to reach every column in time.
    """

    id = "memory/catch-v0"
    render_fps = 8

    def __init__(self, rows: int = 10, columns: int = 10) -> None:
        self.rows = check_integer(self.id, "rows", rows, 2, 1000)
        self.columns = check_integer(self.id, "columns", columns, 2, 2 * self.rows - 1)
        self.observation_space = spaces.Box(0, 255, (1, self.rows, self.columns), np.uint8)
        self.action_space = spaces.Discrete(3)

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Drop the ball."""
        ball = np.array([int(rng.integers(self.columns)) for rng in rngs])
        n = len(rngs)
        return {"ball": ball, "row": np.zeros(n, np.int64), "paddle": np.full(n, self.columns // 2)}

    def observe(self, state: State) -> np.ndarray:
        """Return the image, uint8 ``[n, 1, rows, columns]``."""
        rows = np.arange(len(state["ball"]))
        obs = np.zeros((len(rows), 1, self.rows, self.columns), np.uint8)
        obs[rows, 0, np.minimum(state["row"], self.rows - 1), state["ball"]] = 255
        obs[rows, 0, self.rows - 1, state["paddle"]] = 255
        return obs

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Move the paddle, and the ball down by a row."""
        paddle = np.clip(state["paddle"] + actions - 1, 0, self.columns - 1)
        row = state["row"] + 1
        down = row >= self.rows - 1
        caught = down & (paddle == state["ball"])
        reward = np.where(down, np.where(caught, 1.0, -1.0), 0.0)
        state = {"ball": state["ball"], "row": row, "paddle": paddle}
        return Outcome(state, reward, down, {"success": caught.astype(np.int64)})

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return ``success``: nothing caught yet."""
        return {"success": np.zeros(len(state["ball"]), np.int64)}

    def render(self, state: State) -> np.ndarray:
        """Draw the image, enlarged."""
        from envs.memory.pictures import catch_picture

        row = {name: int(array[0]) for name, array in state.items()}
        return catch_picture(self.rows, self.columns, row["ball"], row["row"], row["paddle"])


class CatchEnv(ModelEnv):
    """See :class:`Catch`."""

    model_type = Catch


class CatchVectorEnv(ModelVectorEnv):
    """See :class:`Catch`."""

    model_type = Catch
