"""The forms in which a text game is played: one game, a vector of games, any subset of many."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from envs.core import InvalidActionError, ModelEnv, ModelVectorEnv, ResetNeeded, State
from envs.core.actions import ActionCheck
from envs.core.arguments import check_integer, check_names
from envs.core.saved import copied, restored
from envs.core.seeding import generators
from envs.text.model import TextModel


class TextEnv(ModelEnv):
    """One text game as a ``gymnasium.Env``; ``render_mode="ansi"`` gives the conversation."""

    model_type: ClassVar[type[TextModel]]
    model: TextModel
    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 2}  # noqa: RUF012

    def render(self) -> Any:
        """Return the conversation as text (``ansi``) or as a picture of a terminal."""
        if self.render_mode != "ansi":
            return super().render()
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: render before the first reset; call reset()")
        return self.model.transcript(self._state)


class TextVectorEnv(ModelVectorEnv):
    """Many text games in step as a ``gymnasium.vector.VectorEnv``; observations are tuples."""

    model_type: ClassVar[type[TextModel]]

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start every game afresh."""
        obs, infos = super().reset(seed=seed, options=options)
        return tuple(obs), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one turn of every game."""
        obs, reward, terminated, truncated, infos = super().step(actions)
        return tuple(obs), reward, terminated, truncated, infos


@dataclass(frozen=True, slots=True)
class Turns:
    """What a subset of games answered; arrays ``[k]`` in the order of the ids asked for.

    Attributes:
        replies: The environment's answers (object array of strings).
        reward: Float64.
        terminated: Bool: the game's own end.
        truncated: Bool: time limit, or an oracle that failed.
        info: Arrays by name, of the games that the actions were played in.
        observations: What the agent sees next: the answer or, where a game ended and was dealt
            anew, the first words of the next.
    """

    replies: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, np.ndarray]
    observations: np.ndarray


class BatchedTextEnv:
    """Many games of which any subset may be stepped: nobody waits for anybody.

    Generation of language models ends at different times for different games; a game is stepped
    when its text is there. Game ``k`` plays the episodes of environment ``k`` of the vector form
    with the same seed. A finished game is dealt anew at once; with ``refill=False`` it rests until
    ``reset``.

    Args:
        id: Gymnasium id of a text game.
        num_games: How many games.
        seed: As for the vector form.
        refill: Whether to deal finished games anew.
        max_episode_steps: Time limit; ``-1`` takes the id's own.
        **kwargs: Arguments of the game.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        id: str,
        num_games: int,
        seed: int | None = None,
        refill: bool = True,
        max_episode_steps: int | None = -1,
        **kwargs: Any,
    ) -> None:
        from envs.catalogue import entry

        spec = entry(id)
        module, name = spec.entry_point.split(":")
        kind = getattr(__import__(module, fromlist=[name]), name)
        if not issubclass(kind, TextEnv):
            raise ValueError(f"{id} is not a text game")
        kwargs = {**spec.kwargs, **kwargs}
        check_names(id, kind.model_type, kwargs)
        self.num_games = check_integer(id, "num_games", num_games, 1)
        self.model: TextModel = kind.model_type(**kwargs)
        self.refill = refill
        self._limit = spec.max_episode_steps if max_episode_steps == -1 else max_episode_steps
        self._check = ActionCheck(id, self.model.action_space)
        self._rngs = generators(seed, num_games)
        self._state: State | None = None
        self._over = np.ones(num_games, bool)

    def reset(
        self, ids: Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Deal some games anew, or all; return their first words and infos.

        Raises:
            ResetNeeded: Only some are dealt before all have been.
        """
        rows = self._rows(range(self.num_games) if ids is None else ids)
        fresh = self.model.start([self._rngs[k] for k in rows], dict(options or {}))
        if ids is None:
            self._state = fresh
        elif self._state is None:
            raise ResetNeeded(f"{self.model.id}: reset() all games first")
        else:
            self._write(rows, fresh)
        self._over[rows] = False
        return self.model.observe(fresh), self.model.start_info(fresh)

    def step(self, ids: Sequence[int], actions: Sequence[str]) -> Turns:
        """Play one turn in each of the games ``ids``.

        Raises:
            ResetNeeded: A game rests, or none has been dealt.
            InvalidActionError: An action is not a string, or there are not as many as ids.
            IndexError: An id is unknown or given twice.
        """
        rows = self._rows(ids)
        if self._state is None or self._over[rows].any():
            raise ResetNeeded(f"{self.model.id}: step of a game that is over; call reset(ids)")
        if not len(rows):
            raise InvalidActionError(f"{self.model.id}: step of no game")
        texts, _ = self._check(actions, len(rows))
        part = {name: array[rows] for name, array in self._state.items()}
        outcome = self.model.step(part, texts, [self._rngs[k] for k in rows])
        self._write(rows, outcome.state)
        terminated = np.array(outcome.terminated, bool)
        truncated = np.zeros(len(rows), bool)
        if outcome.truncated is not None:
            truncated |= outcome.truncated
        if self._limit is not None:
            truncated |= outcome.state["turn"] >= self._limit
        replies = self.model.observe(outcome.state)
        info = {name: values.copy() for name, values in outcome.info.items()}
        seen = self._end(rows, terminated | truncated, replies)
        reward = np.array(outcome.reward, np.float64)
        return Turns(replies, reward, terminated, truncated, info, seen)

    def _end(self, rows: np.ndarray, ended: np.ndarray, replies: np.ndarray) -> np.ndarray:
        seen = replies.copy()
        if not ended.any():
            return seen
        if self.refill:
            seen[ended] = self.reset(rows[ended].tolist())[0]
        else:
            self._over[rows[ended]] = True
        return seen

    def segments(self, ids: Sequence[int] | None = None) -> list[list[tuple[str, str]]]:
        """Return the conversations of some games, or all, as they stand."""
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: no game has been dealt; call reset()")
        rows = self._rows(range(self.num_games) if ids is None else ids)
        return [list(spoken) for spoken in self._state["segments"][rows]]

    def get_state(self) -> dict[str, Any]:
        """Return everything that changes; ``set_state`` goes on exactly from it."""
        if self._state is None:
            raise ResetNeeded(f"{self.model.id}: get_state before the first reset; call reset()")
        return {
            "model": copied(self._state),
            "random": [copy.deepcopy(rng.bit_generator.state) for rng in self._rngs],
            "over": self._over.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""
        self._state = restored(self.model.id, state["model"], self.num_games, self._state)
        for rng, saved in zip(self._rngs, state["random"], strict=True):
            rng.bit_generator.state = copy.deepcopy(saved)
        self._over = np.array(state["over"], bool)

    def _rows(self, ids: Sequence[int] | range) -> np.ndarray:
        rows = np.asarray(ids, np.int64).reshape(-1)
        if ((rows < 0) | (rows >= self.num_games)).any() or len(np.unique(rows)) != len(rows):
            raise IndexError(
                f"{self.model.id}: ids must be distinct and below {self.num_games}, got {ids}"
            )
        return rows

    def _write(self, rows: np.ndarray, part: State) -> None:
        assert self._state is not None
        for name, array in part.items():
            self._state[name][rows] = array
