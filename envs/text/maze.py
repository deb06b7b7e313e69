"""A maze of text: two T-junctions one after the other, the goal at an end of the second."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core import State, check_choice
from envs.core.canvas import Canvas
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.letters import plain, shown
from envs.text.model import TextModel, Turn

LAYOUT = (
    "#############",
    "#...........#",
    "#.####.####.#",
    "#.#.......#.#",
    "#.#.##.##.#.#",
    "#...##.##...#",
    "######.######",
    "######.######",
    "######.######",
    "#############",
)
"""Ten rows of thirteen; ``#`` is wall. The stem leads up to a first T and on to a second."""

MOVES = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
STEPS = np.array([*MOVES.values(), (0, 0)])  # the last row is that of an unknown move, -1
OPEN = np.array([[cell != "#" for cell in row] for row in LAYOUT])
GOAL = (1, 1)
START = (8, 6)
UNKNOWN = "I do not know that move; say move up, move down, move left or move right."


class Maze(TextModel):
    """Walk to the goal.

    A move costs 1, also into a wall; the move that reaches the goal costs nothing. An unknown
    action costs 4. Time limit 100.

    Args:
        observation: ``full`` names position, goal and walls; ``walls`` the walls around alone.
        start: ``random`` anywhere but on the goal, or ``fixed`` at the foot of the stem.

    Raises:
        ValueError: An argument is none of these.
    """

    id = "text/maze-v0"
    max_action = 40

    def __init__(self, observation: str = "full", start: str = "random") -> None:
        super().__init__()
        self._full = check_choice(self.id, "observation", observation, ("full", "walls")) == "full"
        self._random = check_choice(self.id, "start", start, ("fixed", "random")) == "random"
        self._cells = np.argwhere(OPEN & (distances() > 0))

        self._moves = {f"move {way}": k for k, way in enumerate(MOVES)}
        self._views = np.full(OPEN.shape, "", object)
        for row, column in np.argwhere(OPEN).tolist():
            self._views[row, column] = self._seen(row, column)

    def _way(self, text: str) -> int:
        """Return the number of the move that a text names, or -1."""
        read = plain(text, self.max_action)
        if read is None:
            return -1
        return self._moves.get("move " + read.rstrip(".").removeprefix("move "), -1)

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Place the walker of each game."""
        if options:
            raise ValueError(f"{self.id}: there are no options, got {sorted(options)}")
        if not self._random:
            return {"place": np.tile(np.array(START), (len(rngs), 1))}
        return {"place": self._cells[[int(rng.integers(len(self._cells))) for rng in rngs]]}

    def prompts(self, state: State) -> list[str]:
        """Return what the walker sees first."""
        return [str(self._views[row, column]) for row, column in state["place"].tolist()]

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Move each walker."""
        known = self._moves
        ways = np.array([known.get(text, -2) for text in texts])
        for k in np.flatnonzero(ways == -2):
            ways[k] = self._way(texts[k])
        valid = ways >= 0
        target = state["place"] + STEPS[ways]
        free = OPEN[target[:, 0], target[:, 1]]
        state["place"] = np.where(free[:, None], target, state["place"])
        state["won"] = won = (state["place"] == GOAL).all(-1)
        replies = self._views[state["place"][:, 0], state["place"][:, 1]]
        replies[~valid] = UNKNOWN
        reward = np.where(valid, np.where(won, 0.0, -1.0), -4.0)
        return Turn(replies, reward, won, valid)

    def render(self, state: State) -> np.ndarray:
        """Return the maze of row 0 from above."""
        rows, columns = OPEN.shape
        canvas = Canvas(36 * columns, 36 * rows, (0, columns), (rows, 0), background="paper")
        for row, column in np.argwhere(~OPEN):
            canvas.rectangle(column, row, column + 1, row + 1, "ink")
        canvas.rectangle(GOAL[1], GOAL[0], GOAL[1] + 1, GOAL[0] + 1, "yellow")
        canvas.text((GOAL[1] + 0.5, GOAL[0] + 0.5), "goal", 12)
        row, column = state["place"][0]
        canvas.circle((column + 0.5, row + 0.5), 0.33, "blue")
        text = (
            f"turn {int(state['turn'][0])}: {self._lines(state)[-2][1]}" if state["turn"][0] else ""
        )
        canvas.text((0.4, rows - 0.5), shown(text)[:50], 14, "white", "lm")
        return canvas.array()

    def _seen(self, row: int, column: int) -> str:
        walls = [name for name, (dr, dc) in MOVES.items() if not OPEN[row + dr, column + dc]]
        around = f"Walls: {', '.join(walls) if walls else 'none'}."
        if not self._full:
            return around
        return f"You are at {row}, {column}; the goal is at {GOAL[0]}, {GOAL[1]}. {around}"


@functools.cache
def distances() -> np.ndarray:
    """Return the number of moves from each cell to the goal, -1 in walls."""
    far = np.full(OPEN.shape, -1)
    far[GOAL] = 0
    waiting = deque([GOAL])
    while waiting:
        row, column = waiting.popleft()
        for dr, dc in MOVES.values():
            cell = (row + dr, column + dc)
            if OPEN[cell] and far[cell] < 0:
                far[cell] = far[row, column] + 1
                waiting.append(cell)
    return far


class MazeEnv(TextEnv):
    """:class:`Maze` as a ``gymnasium.Env``."""

    model_type = Maze


class MazeVectorEnv(TextVectorEnv):
    """:class:`Maze` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Maze
