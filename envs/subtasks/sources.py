"""Who names the next subtask: fixed lists, chance, or an adversary that looks at values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from envs.core.seeding import uniforms
from envs.subtasks.game import SubtaskGame

UNDECIDED = -1
"""In a plan: to be chosen at the exit."""


@dataclass(frozen=True, slots=True)
class Exits:
    """Rows that have just left a subtask.

    Attributes:
        game: The game.
        subtask: Number of the finished subtask, ``[n]``.
        states: Exit states in its frame, ``[n, d]``.
        completed: How many subtasks were finished, ``[n]``.
        rngs: One generator for each row.
    """

    game: SubtaskGame
    subtask: np.ndarray
    states: np.ndarray
    completed: np.ndarray
    rngs: Sequence[np.random.Generator]

    def observations(self) -> np.ndarray:
        """Return what each possible next subtask would see, ``[n, m, o]``."""
        return self.game.observe_jumps(self.subtask, self.states)


class TaskSource(ABC):
    """Names subtasks, all at the start of an episode or one by one at the exits.

    Attributes:
        draws_at_exit: Whether ``choose`` may draw from the rows' generators.
    """

    draws_at_exit: bool = False

    @abstractmethod
    def plan(self, game: SubtaskGame, k: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Return the task of each episode, int64 ``[n, k]``; the first subtask must be decided."""

    def choose(self, exits: Exits) -> np.ndarray:
        """Return the next subtask of each row, ``[n]``, where the plan left it undecided."""
        raise NotImplementedError(f"{type(self).__name__} plans whole tasks")


MOST_DIGITS_OF = 2.0**32
"""A number of 53 random bits is cut into digits that take this many values at most."""


def digits(drawn: np.ndarray, m: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut uniform numbers ``[n]`` into ``count`` uniform digits of base ``m``.

    No digit is favoured by more than 2^-21 as long as ``m**count`` is at most
    :data:`MOST_DIGITS_OF`.

    Returns:
        The digits, int64 ``[n, count]``, and what is left: uniform numbers ``[n]`` independent of
        them, with as many bits less as the digits took.
    """
    scaled = drawn * float(m**count)
    number = scaled.astype(np.int64)
    rest = scaled - number
    plan = np.empty((len(drawn), count), np.int64)
    for place in range(count):
        plan[:, place] = number % m
        number //= m
    return plan, rest


def uniform_plan(m: int, k: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Return uniformly drawn numbers below ``m``, ``[n, k]``, several of each draw."""
    most = max(1, int(np.log2(MOST_DIGITS_OF) / np.log2(max(m, 2))))
    counts = [min(most, k - first) for first in range(0, k, most)]
    parts = [digits(uniforms(rngs, 1)[:, 0], m, count)[0] for count in counts]
    return np.concatenate([np.empty((len(rngs), 0), np.int64), *parts], 1)


class UniformTasks(TaskSource):
    """Every subtask is drawn uniformly."""

    def plan(self, game: SubtaskGame, k: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Return uniform tasks."""
        return uniform_plan(len(game.names), k, rngs)


class FixedTask(TaskSource):
    """The same task in every episode.

    Args:
        task: Names or numbers; repeated if an episode is longer.

    Raises:
        ValueError: It is empty.
    """

    def __init__(self, task: Sequence[str | int]) -> None:
        if isinstance(task, str) or not len(task):
            raise ValueError(f"a task must be a list of at least one subtask, got {task!r}")
        self.task = tuple(task)

    def plan(self, game: SubtaskGame, k: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Return the task for each row."""
        row = np.resize(np.array([game.index(one) for one in self.task], np.int64), k)
        return np.tile(row, (len(rngs), 1))


class ChosenTasks(TaskSource):
    """The first subtask is uniform, the others are chosen at the exits.

    Args:
        choice: ``choice(exits) -> [n]``; see :class:`Exits`.
        draws: Whether it draws from the rows' generators.
    """

    def __init__(self, choice: Callable[[Exits], np.ndarray], draws: bool = False) -> None:
        self._choice = choice
        self.draws_at_exit = draws

    def plan(self, game: SubtaskGame, k: int, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Return tasks of which only the first subtask is decided."""
        plan = np.full((len(rngs), k), UNDECIDED, np.int64)
        plan[:, :1] = uniform_plan(len(game.names), 1, rngs)
        return plan

    def choose(self, exits: Exits) -> np.ndarray:
        """Return what ``choice`` says."""
        return np.asarray(self._choice(exits), np.int64)


class ValueAdversary(ChosenTasks):
    """The subtask of least value to the agent, with chance ``eps`` a uniform one.

    Args:
        values: ``values(subtask number, observations [n, o]) -> [n]``.
        eps: Chance of a uniform choice, 0.15 in the paper's code.

    Raises:
        ValueError: ``eps`` is not in [0, 1].
    """

    def __init__(self, values: Callable[[int, np.ndarray], np.ndarray], eps: float = 0.15) -> None:
        if not 0.0 <= eps <= 1.0:
            raise ValueError(f"eps must be in [0, 1], got {eps}")
        super().__init__(self._least, draws=eps > 0)
        self._values, self.eps = values, eps

    def _least(self, exits: Exits) -> np.ndarray:
        seen = exits.observations()
        m = seen.shape[1]
        table = np.stack([np.asarray(self._values(k, seen[:, k])) for k in range(m)], 1)
        chosen: np.ndarray = table.argmin(1)
        if self.eps > 0:
            drawn = uniforms(exits.rngs, 2)
            chosen = np.where(drawn[:, 0] < self.eps, (drawn[:, 1] * m).astype(np.int64), chosen)
        return chosen
