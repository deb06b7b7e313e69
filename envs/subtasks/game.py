"""Subtasks, and the game that chains them: a hybrid automaton with one mode a subtask.

Jothimurugan, Hsu, Bastani and Alur, *Robust Subtask Learning for Compositional Generalization*
(ICML 2023, arXiv 2302.02984): an agent moves inside a subtask; whenever it reaches the subtask's
exit, an adversary names the next one and the state jumps into that subtask's frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import Space

Jump = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""``jump(source [n], target [n], states [n, d]) -> states [n, d]`` in the target's frame."""


class Subtask(ABC):
    """One mode of the game.

    States are float64 arrays ``[..., d]``; every method takes any leading axes, the batch.

    Attributes:
        name: What tasks call it.
        draws: How many uniform numbers a start takes.
        step_draws: How many uniform numbers a step takes; 0 for deterministic subtasks.
    """

    name: str
    draws: int
    step_draws: int = 0

    @abstractmethod
    def place(self, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return the starts ``[..., d]`` that uniform numbers ``[..., draws]`` stand for."""

    def reset_nominal(self, rng: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw a start ``[d]``, or ``n`` of them, as tasks begin."""
        return self.place(rng.random(self._shape(n)), wide=False)

    def reset_wide(self, rng: np.random.Generator, n: int | None = None) -> np.ndarray:
        """Draw a start ``[d]``, or ``n`` of them, from everywhere a predecessor may leave it."""
        return self.place(rng.random(self._shape(n)), wide=True)

    def _shape(self, n: int | None) -> tuple[int, ...]:
        return (self.draws,) if n is None else (n, self.draws)

    @abstractmethod
    def step(
        self, state: np.ndarray, action: np.ndarray, uniforms: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the next states.

        Args:
            state: ``[..., d]``.
            action: ``[..., a]``, within the action space.
            uniforms: ``[..., step_draws]`` where the subtask is random.
        """

    @abstractmethod
    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the observations ``[..., o]`` of states in this subtask's frame."""

    @abstractmethod
    def reward(self, state: np.ndarray, action: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Return R(s, a, s') without the bonus of an exit, ``[...]``."""

    @abstractmethod
    def is_safe(self, state: np.ndarray) -> np.ndarray:
        """Return whether states are safe, bool ``[...]``."""

    @abstractmethod
    def in_exit(self, state: np.ndarray) -> np.ndarray:
        """Return whether states lie in the exit set, bool ``[...]``; unsafe ones are no exits."""


class SubtaskGame:
    """Subtasks with one action space and one observation space, and the jumps between them.

    The batched methods take the index of each row's subtask. Here they group the rows by subtask;
    a family whose subtasks share their rules overrides them.

    Args:
        subtasks: At least one, with distinct names.
        jump: See :data:`Jump`.
        observation_space: Of every subtask.
        action_space: Of every subtask.
        state_low: Lower bounds ``[d]`` of safe states, for the adversary's observation space.
        state_high: Upper bounds ``[d]``.

    Raises:
        ValueError: There is no subtask, two have one name, or one cannot be left.
    """

    def __init__(
        self,
        subtasks: Sequence[Subtask],
        jump: Jump,
        observation_space: Space[Any],
        action_space: Space[Any],
        state_low: Sequence[float],
        state_high: Sequence[float],
    ) -> None:
        self.subtasks = tuple(subtasks)
        self.names = tuple(subtask.name for subtask in self.subtasks)
        if not self.subtasks:
            raise ValueError("a game needs at least one subtask, got none")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"subtasks must have distinct names, got {', '.join(self.names)}")
        for subtask in self.subtasks:
            if not callable(getattr(subtask, "in_exit", None)):
                raise ValueError(f"subtask {subtask.name} has no exit: in_exit is missing")
        self._jump = jump
        self.observation_space = observation_space
        self.action_space = action_space
        self.state_low = np.asarray(state_low, np.float64)
        self.state_high = np.asarray(state_high, np.float64)
        self.step_draws = max(subtask.step_draws for subtask in self.subtasks)
        self.draws = max(subtask.draws for subtask in self.subtasks)
        self._check_observations()

    def _check_observations(self) -> None:
        wanted = self.observation_space.shape
        for subtask in self.subtasks:
            found = subtask.observe(subtask.place(np.full(subtask.draws, 0.5), wide=False))
            if np.shape(found) != wanted:
                raise ValueError(
                    f"subtask {subtask.name} observes shape {np.shape(found)}, wanted {wanted}"
                )

    def index(self, subtask: str | int) -> int:
        """Return the number of a subtask given by name or number.

        Raises:
            ValueError: There is no such subtask.
        """
        if isinstance(subtask, str) and subtask in self.names:
            return self.names.index(subtask)
        number = isinstance(subtask, (int, np.integer)) and not isinstance(subtask, bool)
        if number and 0 <= int(subtask) < len(self.names):
            return int(subtask)
        raise ValueError(f"no subtask {subtask!r}; there are: {', '.join(self.names)}")

    def jump(self, source: Any, target: Any, states: np.ndarray) -> np.ndarray:
        """Return exit states of ``source`` in the frame of ``target``.

        Args:
            source: Number of the finished subtask, or one for each row.
            target: Number of the next subtask, or one for each row.
            states: ``[d]`` or ``[n, d]``.

        Raises:
            ValueError: There is no such subtask.
        """
        states = np.asarray(states, np.float64)
        rows = np.atleast_2d(states)
        sources, targets = self._numbers(source, len(rows)), self._numbers(target, len(rows))
        return self._jump(sources, targets, rows).reshape(states.shape)

    def _numbers(self, given: Any, n: int) -> np.ndarray:
        if isinstance(given, str):
            given = self.index(given)
        numbers = np.broadcast_to(np.asarray(given), (n,))
        if numbers.dtype.kind not in "iu" or (
            n and not 0 <= numbers.min() <= numbers.max() < len(self.names)
        ):
            raise ValueError(f"no subtask {given!r}; there are: {', '.join(self.names)}")
        return numbers

    def jump_all(self, source: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return ``[n, m, d]``: the states after a jump into each of the ``m`` subtasks."""
        n, m = len(source), len(self.names)
        repeated = np.repeat(states, m, 0)
        jumped = self._jump(np.repeat(source, m), np.tile(np.arange(m), n), repeated)
        return jumped.reshape(n, m, -1)

    def observe_jumps(self, source: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return ``[n, m, o]``: the observation after a jump into each of the ``m`` subtasks."""
        n, m = len(source), len(self.names)
        jumped = self.jump_all(source, states).reshape(n * m, -1)
        seen = self.observe(np.tile(np.arange(m), n), jumped)
        return seen.reshape(n, m, *seen.shape[1:])

    def place(self, subtask: np.ndarray, uniforms: np.ndarray, wide: bool) -> np.ndarray:
        """Return starts ``[n, d]`` from uniform numbers ``[n, draws]``."""
        placed: np.ndarray = self._grouped(
            subtask, lambda one, rows: one.place(uniforms[rows][:, : one.draws], wide)
        )
        return placed

    def advance(
        self,
        subtask: np.ndarray,
        states: np.ndarray,
        actions: np.ndarray,
        uniforms: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Take one step in every row.

        Returns:
            Next states ``[n, d]``, rewards ``[n]`` without bonus, whether safe, whether at a
            (safe) exit.
        """
        following = np.empty_like(states)
        reward, safe = np.empty(len(states)), np.empty(len(states), bool)
        left = np.empty(len(states), bool)
        for one, rows in self._groups(subtask):
            before, action = states[rows], actions[rows]
            after = one.step(before, action, None if uniforms is None else uniforms[rows])
            following[rows], safe[rows] = after, one.is_safe(after)
            reward[rows] = one.reward(before, action, after)
            left[rows] = one.in_exit(after)
        return following, reward, safe, left & safe

    def observe(self, subtask: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the observations ``[n, o]``."""
        seen: np.ndarray = self._grouped(subtask, lambda one, rows: one.observe(states[rows]))
        return seen

    def _groups(self, subtask: np.ndarray) -> list[tuple[Subtask, np.ndarray]]:
        found = [(one, np.flatnonzero(subtask == k)) for k, one in enumerate(self.subtasks)]
        return [(one, rows) for one, rows in found if len(rows)]

    def _grouped(self, subtask: np.ndarray, part: Callable[[Subtask, np.ndarray], Any]) -> Any:
        whole = None
        for one, rows in self._groups(subtask):
            values = part(one, rows)
            if whole is None:
                whole = np.empty((len(subtask), *values.shape[1:]), values.dtype)
            whole[rows] = values
        if whole is None:
            return np.empty((0, len(self.state_low)))
        return whole
