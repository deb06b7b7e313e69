"""The game for two players behind PettingZoo's parallel interface."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import InvalidActionError, ResetNeeded, check_integer, check_number
from envs.core.actions import ActionCheck
from envs.core.seeding import uniforms
from envs.subtasks.env import check_flag
from envs.subtasks.game import SubtaskGame

AGENT, ADVERSARY = "agent", "adversary"
Parts = dict[str, Any]


class GameRules:
    """Agent and adversary of a game, both of whom act in every step.

    While a subtask is played the agent moves and what the adversary does is ignored; at an exit
    the adversary names the next subtask, and what the agent does is ignored. Whose turn it is
    stands in the observations: ``active`` of the agent, and ``action_mask`` of the adversary, which
    leaves it nothing but the no-op (the last action) while it is idle. A no-op out of turn hands
    the choice to chance. Rewards sum to zero: the agent gets the subtask's, plus the bonus at an
    exit.

    Args:
        name: For messages.
        game: The game.
        k: Subtasks in a task.
        limit: Steps that a subtask may take.
        bonus: Of a completed subtask.
        wide: Begin from the wide starts.
        reference_limits: Allow ``limit + 1`` steps.
    """

    def __init__(
        self,
        name: str,
        game: SubtaskGame,
        k: int = 5,
        limit: int = 25,
        bonus: float = 25.0,
        wide: bool = False,
        reference_limits: bool = False,
    ) -> None:
        self.metadata = {"name": name, "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.game = game
        self.k = check_integer(name, "k", k, 1, 10_000)
        self.bonus = check_number(name, "bonus", bonus)
        self.wide = check_flag(name, "wide", wide)
        self.steps_allowed = check_integer(name, "limit", limit, 1, 10_000) + check_flag(
            name, "reference_limits", reference_limits
        )
        self.possible_agents = [AGENT, ADVERSARY]
        self.agents: list[str] = []
        m = len(game.names)
        low = np.concatenate([np.zeros(m), game.state_low]).astype(np.float32)
        high = np.concatenate([np.ones(m), game.state_high]).astype(np.float32)
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            AGENT: spaces.Dict(
                {
                    "observation": game.observation_space,
                    "subtask": spaces.Discrete(m),
                    "active": spaces.Discrete(2),
                }
            ),
            ADVERSARY: spaces.Dict(
                {
                    "observation": spaces.Box(low, high, dtype=np.float32),
                    "action_mask": spaces.Box(0, 1, (m + 1,), np.int8),
                }
            ),
        }
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            AGENT: copy.deepcopy(game.action_space),
            ADVERSARY: spaces.Discrete(m + 1),
        }
        self._checks = {who: ActionCheck(name, space) for who, space in self.action_spaces.items()}
        self._name = name
        self._rng: np.random.Generator | None = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return a player's observation space."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return a player's action space."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Parts, Parts]:
        """Start an episode in a uniformly drawn subtask."""
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self._subtask = np.array([self._rng.integers(len(self.game.names))])
        drawn = uniforms([self._rng], self.game.draws)
        self._state = self.game.place(self._subtask, drawn, self.wide)
        self._steps = self._completed = 0
        self._at_exit = False
        return self._observations(), {who: {} for who in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[Parts, Parts, Parts, Parts, Parts]:
        """Let the player whose turn it is act.

        Raises:
            ResetNeeded: There is no episode.
            InvalidActionError: An action is missing or none of its space.
        """
        if not self.agents or self._rng is None:
            raise ResetNeeded(f"{self._name}: step without an episode; call reset()")
        checked = {}
        for who in self.agents:
            if who not in actions:
                raise InvalidActionError(f"{self._name}: the action of {who} is missing")
            checked[who] = self._checks[who].one(actions[who])[0]
        reward, terminated, truncated = 0.0, False, False
        if self._at_exit:
            self._jump(int(checked[ADVERSARY][0]))
        else:
            reward, terminated, truncated = self._move(checked[AGENT])
        observations = self._observations()
        names = self.agents
        infos = {who: {"completed": self._completed} for who in names}
        if terminated or truncated:
            self.agents = []
        rewards = {AGENT: reward, ADVERSARY: -reward}
        over, broken = ({who: flag for who in names} for flag in (terminated, truncated))
        return observations, rewards, over, broken, infos

    def _jump(self, named: int) -> None:
        assert self._rng is not None
        m = len(self.game.names)
        target = np.array([self._rng.integers(m) if named == m else named])
        self._state = self.game.jump(self._subtask, target, self._state)
        self._subtask, self._steps, self._at_exit = target, 0, False

    def _move(self, action: np.ndarray) -> tuple[float, bool, bool]:
        assert self._rng is not None
        count = self.game.step_draws
        chance = uniforms([self._rng], count) if count else None
        self._state, reward, safe, left = self.game.advance(
            self._subtask, self._state, action, chance
        )
        self._steps += 1
        self._at_exit = bool(left[0])
        self._completed += self._at_exit
        terminated = not safe[0] or self._completed >= self.k
        late = self._steps >= self.steps_allowed and not self._at_exit and bool(safe[0])
        return float(reward[0]) + self.bonus * self._at_exit, bool(terminated), late

    def _observations(self) -> Parts:
        m = len(self.game.names)
        mask = np.zeros(m + 1, np.int8)
        mask[:m] = self._at_exit
        mask[m] = not self._at_exit
        one_hot = np.arange(m) == self._subtask[0]
        state = np.clip(self._state[0], self.game.state_low, self.game.state_high)
        seen = self.game.observe(self._subtask, self._state)[0]
        return {
            AGENT: {
                "observation": seen,
                "subtask": int(self._subtask[0]),
                "active": int(not self._at_exit),
            },
            ADVERSARY: {
                "observation": np.concatenate([one_hot, state]).astype(np.float32),
                "action_mask": mask,
            },
        }

    def render(self) -> None:
        """Return None: the agent's view has pictures."""

    def close(self) -> None:
        """Do nothing."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the bare state; the class is made anew."""
        return _revive, (self.__dict__,)


@functools.cache
def _parallel_class() -> type[Any]:
    try:
        from pettingzoo import ParallelEnv
    except ImportError as error:
        raise ImportError(
            "two-player games need PettingZoo: pip install 'rlcore[games]'"
        ) from error
    return type("SubtaskParallelEnv", (GameRules, ParallelEnv), {"__doc__": GameRules.__doc__})


def _revive(attributes: dict[str, Any]) -> Any:
    env = object.__new__(_parallel_class())
    env.__dict__.update(attributes)
    return env


def _rooms(**kwargs: Any) -> SubtaskGame:
    from envs.subtasks.rooms import RoomsGame

    return RoomsGame(**kwargs)


def _grid(**kwargs: Any) -> SubtaskGame:
    from envs.subtasks.grid_rooms import GridRoomsGame

    return GridRoomsGame(**kwargs)


def _f110(**kwargs: Any) -> SubtaskGame:
    from envs.subtasks.f110 import F110Game

    return F110Game(**kwargs)


GAMES: dict[str, tuple[Callable[..., SubtaskGame], dict[str, Any], dict[str, Any]]] = {
    "subtasks/rooms-game": (_rooms, {}, {}),
    "subtasks/rooms-two-doors-game": (_rooms, {"two_doors": True}, {}),
    "subtasks/grid-rooms-game": (_grid, {}, {"limit": 50}),
    "subtasks/f110-turn-game": (_f110, {}, {"k": 25, "limit": 50, "bonus": 100.0}),
}
"""Makers of the games with their arguments, and the defaults of the players' environment."""


def parallel_env(id: str, game: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """Return a PettingZoo ``ParallelEnv`` of a game.

    Args:
        id: A name of :data:`GAMES`.
        game: Arguments of the game, as ``{"n_rays": 109}``.
        **kwargs: ``k``, ``limit``, ``bonus``, ``wide``, ``reference_limits``; see
            :class:`GameRules`.

    Raises:
        ValueError: There is no such game.
        ImportError: PettingZoo is not installed.
    """
    if id not in GAMES:
        raise ValueError(f"no game {id!r}; there are: {', '.join(GAMES)}")
    make, arguments, defaults = GAMES[id]
    return _parallel_class()(id, make(**arguments | dict(game or {})), **defaults | kwargs)
