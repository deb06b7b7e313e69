"""The agent's view of a game: one step of the current subtask a step, a task an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs.core import Model, ModelEnv, ModelVectorEnv, Outcome, State, check_integer, check_number
from envs.core.seeding import of_rows, uniforms
from envs.subtasks.game import SubtaskGame
from envs.subtasks.sources import (
    UNDECIDED,
    Exits,
    FixedTask,
    TaskSource,
    UniformTasks,
    digits,
)

OPTIONS = ("task", "subtask", "state", "start")
FRESH = ("unsafe", "jump_obs")
"""Infos that every step makes anew."""
SHORT = 2**12
"""Tasks of at most this many values leave 41 of 53 bits to the start."""


class SubtaskModel(Model):
    """Chains the subtasks of a game as a source names them.

    An episode ends (terminated) when a move is unsafe or the ``k``-th subtask is completed, and is
    broken off (truncated) when a subtask is not completed within ``limit`` steps. At an exit the
    state jumps into the frame of the next subtask, whose observation is returned.

    ``reset`` takes the options ``task`` (a list of names or numbers, or one list for each row),
    ``subtask`` (the first one), ``start`` (``nominal`` or ``wide``) and ``state`` (``[d]`` or
    ``[n, d]``, in the frame of the first subtask).

    Args:
        game: The game.
        k: Subtasks in a task.
        limit: Steps that a subtask may take.
        bonus: Added to the reward of a completed subtask.
        source: Names the subtasks; uniformly drawn by default.
        wide: Start from everywhere a predecessor may leave a subtask.
        reference_limits: Allow ``limit + 1`` steps, as the published code does.
        jump_obs: Give ``info["jump_obs"]``.
    """

    id = "subtasks/any"
    draws_in_step = True

    def __init__(
        self,
        game: SubtaskGame,
        k: int = 5,
        limit: int = 25,
        bonus: float = 0.0,
        source: TaskSource | None = None,
        wide: bool = False,
        reference_limits: bool = False,
        jump_obs: bool = True,
    ) -> None:
        if not isinstance(game, SubtaskGame):
            raise ValueError(f"{self.id}: game must be a SubtaskGame, got {game!r:.60}")
        self.game = game
        self.k = check_integer(self.id, "k", k, 1, 10_000)
        self.limit = check_integer(self.id, "limit", limit, 1, 10_000)
        self.bonus = check_number(self.id, "bonus", bonus, -1e6, 1e6)
        self.wide = check_flag(self.id, "wide", wide)
        self.reference_limits = check_flag(self.id, "reference_limits", reference_limits)
        self.jump_obs = check_flag(self.id, "jump_obs", jump_obs)
        self.source = source or UniformTasks()
        self.observation_space = game.observation_space
        self.action_space = game.action_space

    @property
    def source(self) -> TaskSource:
        """Who names the subtasks."""
        return self._source

    @source.setter
    def source(self, source: TaskSource) -> None:
        if not isinstance(source, TaskSource):
            raise ValueError(f"{self.id}: source must be a TaskSource, got {source!r:.60}")
        self._source = source
        # Per instance, where the base class has it per class: rules without chance are faster.
        self.__dict__["draws_in_step"] = source.draws_at_exit or self.game.step_draws > 0

    @property
    def steps_allowed(self) -> int:
        """How many steps a subtask may take."""
        return self.limit + self.reference_limits

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a task, then a start of its first subtask."""
        self._check_options(options)
        n = len(rngs)
        task, chance = self._drawn(rngs)
        if "task" in options:
            task = self._given_task(options["task"], n)
        if "subtask" in options:
            task[:, 0] = self._given_subtask(options["subtask"], n)
        subtask = task[:, 0].copy()
        wide = self.wide if "start" not in options else options["start"] == "wide"
        states = self.game.place(subtask, chance, wide)
        if "state" in options:
            states = self._given_state(options["state"], states.shape)
        trail = np.zeros((n, self.steps_allowed + 1, 2), np.float32)
        trail[:, 0] = self.positions(states)
        zeros = np.zeros(n, np.int64)
        return {
            "state": states,
            "subtask": subtask,
            "task": task,
            "steps": zeros,
            "completed": zeros.copy(),
            "trail": trail,
        }

    def _drawn(self, rngs: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tasks ``[n, k]`` and uniform numbers ``[n, draws]`` for the starts.

        Drawing is most of what a restart costs, so a short uniform task and a start that takes one
        number share one draw.
        """
        m, draws = len(self.game.names), self.game.draws
        if draws == 1 and type(self._source) is UniformTasks and m**self.k <= SHORT:
            task, rest = digits(uniforms(rngs, 1)[:, 0], m, self.k)
            return task, rest[:, None]
        return self._source.plan(self.game, self.k, rngs), uniforms(rngs, draws)

    def positions(self, states: np.ndarray) -> np.ndarray:
        """Return where states are in their frame, ``[n, 2]``, for pictures."""
        return states[..., :2]

    def observe(self, state: State) -> np.ndarray:
        """Return what each row's subtask sees."""
        return self.game.observe(state["subtask"], state["state"])

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the number of the subtask to be played."""
        return {"subtask": state["subtask"]}

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Take one step; the reward is the subtask's, plus the bonus at an exit.

        ``info`` holds ``subtask`` (to be played next), ``exit`` (whether this step completed one),
        ``completed`` (how many so far), ``unsafe``, and ``jump_obs`` ``[m, o]``: at an exit, what
        every possible next subtask would see (elsewhere zeros).
        """
        chance = uniforms(rngs, self.game.step_draws) if self.game.step_draws else None
        subtask = state["subtask"]
        following, reward, safe, left = self.game.advance(subtask, state["state"], actions, chance)
        state["state"] = following
        state["steps"] += 1
        late = state["steps"] >= self.steps_allowed
        info = {"exit": left, "unsafe": ~safe}
        rows = np.flatnonzero(left)
        if self.jump_obs:
            info["jump_obs"] = self._seen_after_jumps(subtask, following, rows)
        self._trace(state)
        finished = np.zeros(len(left), bool)
        if len(rows):
            reward[rows] += self.bonus
            late[rows] = False
            state["completed"][rows] += 1
            finished = state["completed"] >= self.k
            self._go_on(state, rows[~finished[rows]], rngs)
        info["subtask"], info["completed"] = state["subtask"], state["completed"]
        terminated, truncated = ~safe | finished, late & safe
        return Outcome(state, reward, terminated, info, truncated, FRESH)

    def _trace(self, state: State) -> None:
        # An episode that is stepped beyond its end, to be thrown away, must not run out of room.
        at = np.minimum(state["steps"], self.steps_allowed)
        at += np.arange(0, state["trail"].size // 2, state["trail"].shape[1])
        # A point is one number of 8 bytes here: NumPy scatters those several times faster.
        points = self.positions(state["state"]).astype(np.float32).view(np.int64)[:, 0]
        state["trail"].view(np.int64).reshape(-1)[at] = points

    def _seen_after_jumps(
        self, subtask: np.ndarray, states: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        space = self.game.observation_space
        seen = np.zeros((len(subtask), len(self.game.names), *(space.shape or ())), space.dtype)
        if len(rows):
            seen[rows] = self.game.observe_jumps(subtask[rows], states[rows])
        return seen

    def _go_on(self, state: State, rows: np.ndarray, rngs: Sequence[np.random.Generator]) -> None:
        """Name the next subtask of ``rows`` and jump there."""
        if not len(rows):
            return
        before, exits = state["subtask"][rows], state["state"][rows]
        completed = state["completed"][rows]
        chosen = state["task"][rows, completed]
        asked = np.flatnonzero(chosen == UNDECIDED)
        if len(asked):
            own = of_rows(rngs, rows[asked])
            asking = Exits(self.game, before[asked], exits[asked], completed[asked], own)
            chosen[asked] = self.game._numbers(self._source.choose(asking), len(asked))
            state["task"][rows, completed] = chosen
        state["state"][rows] = self.game.jump(before, chosen, exits)
        state["subtask"][rows] = chosen
        state["steps"][rows] = 0
        state["trail"][rows, 0] = self.positions(state["state"][rows])

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in OPTIONS:
                raise ValueError(f"{self.id}: no option {name!r} of reset; {', '.join(OPTIONS)}")
        if options.get("start", "wide") not in ("wide", "nominal"):
            raise ValueError(f"{self.id}: start must be nominal or wide, got {options['start']!r}")

    def _given_task(self, task: Any, n: int) -> np.ndarray:
        several = len(task) > 0 and isinstance(task[0], (list, tuple, np.ndarray))
        tasks = list(task) if several else [task] * n
        if len(tasks) != n:
            raise ValueError(f"{self.id}: {len(tasks)} tasks for {n} environments")
        plans = [FixedTask(one).plan(self.game, self.k, [None])[0] for one in tasks]  # type: ignore[list-item]
        return np.array(plans, np.int64).reshape(n, self.k)

    def _given_subtask(self, subtask: Any, n: int) -> np.ndarray:
        given = [subtask] * n if isinstance(subtask, (str, int, np.integer)) else list(subtask)
        if len(given) != n:
            raise ValueError(f"{self.id}: {len(given)} subtasks for {n} environments")
        return np.array([self.game.index(one) for one in given], np.int64)  # type: ignore[arg-type]

    def _given_state(self, state: Any, shape: tuple[int, ...]) -> np.ndarray:
        given = np.asarray(state, np.float64)
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given).all():
            raise ValueError(
                f"{self.id}: state must be {shape} finite numbers, got shape {given.shape}"
            )
        return np.broadcast_to(given, shape).copy()


class SubtaskEnv(ModelEnv):
    """Agent's view of any game; see :class:`SubtaskModel`."""

    model_type = SubtaskModel


class SubtaskVectorEnv(ModelVectorEnv):
    """Agent's view of any game, many at once; see :class:`SubtaskModel`."""

    model_type = SubtaskModel


def check_flag(env: str, name: str, value: Any) -> bool:
    """Return ``value``, True or False.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{env}: {name} must be true or false, got {value!r:.60}")
    return bool(value)


def task_source(env: str, game: SubtaskGame, task: Any) -> TaskSource:
    """Return the source for the argument ``task`` of a registered environment.

    Args:
        env: Gymnasium id, for messages.
        game: The game.
        task: ``uniform`` or a list of names.

    Raises:
        ValueError: It is neither, or a name is unknown.
    """
    if isinstance(task, str) and task == "uniform":
        return UniformTasks()
    if not isinstance(task, (list, tuple)) or not task:
        raise ValueError(f"{env}: task must be uniform or a list of subtasks, got {task!r:.60}")
    try:
        for one in task:
            game.index(one)
    except ValueError as error:
        raise ValueError(f"{env}: task: {error}") from None
    return FixedTask(task)
