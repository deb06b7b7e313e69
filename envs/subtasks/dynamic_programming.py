"""Exact values of ``grid-rooms-v0``: the worst case and the average over the next subtask.

    V(s, sigma) = max_a E[ R + W(s', sigma) ],   W = 0 where s' is unsafe, gamma V(s', sigma)
    inside, and B + gamma X_{sigma'} V(J(s'), sigma') at an exit,

with X the minimum or the mean over the next subtask (Jothimurugan et al. 2023, section 3). The
values are those of endless tasks without time limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core import check_choice
from envs.subtasks.grid_rooms import MOVES, SIZE, GridRoomsGame, cell, middle

CELLS = SIZE * SIZE


@dataclass(frozen=True)
class Solution:
    """Values and a greedy policy.

    Attributes:
        values: Q(s, a), ``[subtasks, cells, actions]``.
        residual: Largest change of the last sweep, divided by ``1 - gamma``: no value is farther
            from the fixed point.
        sweeps: How many sweeps it took.
        contraction: Largest ratio of the changes of consecutive sweeps.
    """

    values: np.ndarray
    residual: float
    sweeps: int
    contraction: float

    @property
    def best(self) -> np.ndarray:
        """Return V(s), ``[subtasks, cells]``."""
        best: np.ndarray = self.values.max(2)
        return best

    @property
    def policy(self) -> np.ndarray:
        """Return the greedy actions, ``[subtasks, cells]``."""
        greedy: np.ndarray = self.values.argmax(2)
        return greedy


@dataclass(frozen=True)
class Tables:
    """The game as arrays over (subtask, cell, direction).

    Attributes:
        reward: R without bonus.
        kind: 0 unsafe, 1 inside, 2 exit.
        following: Next cell, in the frame of the subtask, or (at an exit) of any next one.
    """

    reward: np.ndarray
    kind: np.ndarray
    following: np.ndarray


def tables(game: GridRoomsGame) -> Tables:
    """Return the game's transitions, each direction as if it never slipped."""
    m, directions = len(game.names), len(MOVES)
    shape = (m, CELLS, directions)
    subtask, cells, moves = (axis.reshape(-1) for axis in np.indices(shape))
    start = middle(cells)
    end = np.concatenate([start[:, 2:], start[:, 2:] + MOVES[moves]], 1)
    _, reward, safe, left = game.judge(subtask, end)
    jumped = game.jump(subtask, np.zeros_like(subtask), end)  # the same for every next subtask
    following = np.where(left, cell(jumped), cell(end))
    kind = np.where(safe, np.where(left, 2, 1), 0)
    return Tables(reward.reshape(shape), kind.reshape(shape), following.reshape(shape))


def solve(
    game: GridRoomsGame,
    gamma: float = 0.99,
    bonus: float = 25.0,
    case: str = "worst",
    tolerance: float = 1e-10,
) -> Solution:
    """Return the optimal values by value iteration.

    Args:
        game: The game.
        gamma: Discount, below 1.
        bonus: Of a completed subtask.
        case: ``worst`` or ``average`` over the next subtask.
        tolerance: Bound on the error of the values.

    Raises:
        ValueError: ``gamma`` is not in [0, 1), or there is no such case.
    """
    check_choice("dynamic programming", "case", case, ["worst", "average"])
    if not 0.0 <= gamma < 1.0:
        raise ValueError(f"gamma must be in [0, 1), got {gamma}")
    table = tables(game)
    values = np.zeros(table.reward.shape)
    ratio, last, sweeps = 0.0, np.inf, 0
    while True:
        improved = backup(table, values.max(2), game.slip, gamma, bonus, case)
        change = float(np.abs(improved - values).max())
        values, sweeps = improved, sweeps + 1
        if np.isfinite(last) and last > 1e-6:
            ratio = max(ratio, change / last)
        last = change
        if gamma * change <= tolerance * (1.0 - gamma):
            return Solution(values, gamma * change / (1.0 - gamma), sweeps, ratio)


def backup(
    table: Tables, values: np.ndarray, slip: float, gamma: float, bonus: float, case: str
) -> np.ndarray:
    """Return Q ``[subtasks, cells, actions]`` of V ``[subtasks, cells]``: one sweep."""
    entered = values.min(0) if case == "worst" else values.mean(0)
    subtask = np.arange(len(values))[:, None, None]
    inside = gamma * values[subtask, table.following]
    beyond = bonus + gamma * entered[table.following]
    meant = table.reward + np.where(table.kind == 2, beyond, np.where(table.kind == 1, inside, 0.0))
    values = (1.0 - slip) * meant + slip * meant.mean(2, keepdims=True)
    return np.asarray(values)
