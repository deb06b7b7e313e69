"""Guess My City: find a city by questions of any form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core import State, check_choice
from envs.text.city_answers import answer
from envs.text.city_reader import CityReader, Query
from envs.text.city_table import cities, city_spellings
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.guessing import check_oracle, hidden_option
from envs.text.letters import shown
from envs.text.model import TextModel, Turn, objects
from envs.text.oracles import Request, TableOracle

PROMPT = (
    "I come from a city. Ask up to 20 questions about it, and name it when you know it, for "
    'example: "Is your city located in Oceania?", "What language is spoken in your city?", "Is it '
    'Atlantis?".'
)
UNKNOWN = "I do not understand the question."
LIMIT = 20


class GuessMyCity(TextModel):
    """One of 100 cities is hidden; questions may be open.

    Every answered question costs 1; naming the city, and no other, ends the game at no cost; so
    does the twentieth question. Spellings old and new count (Bombay, Mumbai). Answers come from the
    table by templates; the city's own names are masked in them, whoever answers.

    Args:
        oracle: Who answers: ``table``, ``noisy``, ``local-lm``, ``http``, ``cached`` or
            ``replay``.
        oracle_options: Arguments of the oracle.
        on_oracle_error: ``truncate`` ends the game with ``info["oracle_error"]``, ``raise`` raises.

    Raises:
        ValueError: An argument is none of these.
    """

    id = "text/guess-my-city-v0"
    max_action = 300
    max_reply = 600

    def __init__(
        self,
        oracle: str = "table",
        oracle_options: dict[str, Any] | None = None,
        on_oracle_error: str = "truncate",
    ) -> None:
        super().__init__()
        self.cities = cities()
        self.reader = CityReader(self.max_action)
        self._numbers = {city.name: k for k, city in enumerate(self.cities)}
        self._answers: dict[tuple[Query, int], str] = {}
        self._known: dict[tuple[str, int], tuple[str, bool, bool]] = {}
        self.oracle = check_oracle(self.id, oracle, self.answer, oracle_options)
        # Per instance, where the base class has it per class: the table's answers draw nothing.
        self.__dict__["draws_in_step"] = not isinstance(self.oracle, TableOracle)
        choice = check_choice(self.id, "on_oracle_error", on_oracle_error, ("truncate", "raise"))
        self._raise = choice == "raise"

    def answer(self, hidden: str, question: str) -> str:
        """Return the table's answer about the city of that name."""
        query, number = self.reader.query(question), self._numbers[hidden]
        if query is None:
            return UNKNOWN
        if query.kind == "guess":
            return "Yes." if query.arguments == (str(number),) else "No."
        key = (query, number)
        if key not in self._answers:
            if len(self._answers) > 1 << 16:
                self._answers.clear()
            self._answers[key] = answer(query, self.cities[number])
        return self._answers[key]

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Hide a city in each game: ``options["hidden"]``, or one drawn."""
        given = hidden_option(self.id, options, city_spellings())
        drawn = [int(rng.integers(len(self.cities))) for rng in rngs]
        return {"hidden": np.array(drawn) if given is None else np.full(len(rngs), given)}

    def prompts(self, state: State) -> list[str]:
        """Return the rules."""
        return [PROMPT] * len(state["hidden"])

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the names of the info."""
        return {"oracle_error": objects([""] * len(state["hidden"]))}

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Answer one question in each game."""
        known = self._known
        if len(known) > 1 << 17:
            known.clear()
        pairs = list(zip(texts, state["hidden"].tolist(), strict=True))
        turns = [known.get(pair) or self._turn(pair) for pair in pairs]
        told, guessed, right = zip(*turns, strict=True)
        replies, won = objects(told), np.array(right)
        errors = objects([""] * len(texts))
        if not isinstance(self.oracle, TableOracle):
            self._ask(state, texts, np.flatnonzero(~np.array(guessed)), replies, errors, rngs)
        failed = errors != ""
        state["won"] = won
        return Turn(
            replies=replies,
            reward=np.where(won | failed, 0.0, -1.0),
            terminated=(won | (state["turn"] >= LIMIT)) & ~failed,
            valid=replies != UNKNOWN,
            truncated=failed,
            info={"oracle_error": errors},
        )

    def _turn(self, pair: tuple[str, int]) -> tuple[str, bool, bool]:
        """Return the table's reply to a text, whether it is a guess, and whether it is right."""
        text, hidden = pair
        query = self.reader.query(text)
        guess = query is not None and query.kind == "guess"
        won = query == Query("guess", (str(hidden),))
        turn = (self.answer(self.cities[hidden].name, text), guess, won)
        if len(text) <= self.max_action:
            self._known[pair] = turn
        return turn

    def _ask(
        self,
        state: State,
        texts: list[str],
        rows: np.ndarray,
        replies: np.ndarray,
        errors: np.ndarray,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        """Let the oracle answer the questions ``rows``; write its answers and errors."""
        rows = np.array([k for k in rows if 0 < len(texts[k].strip()) <= self.max_action], int)
        if not len(rows):
            return
        cities = {k: self.cities[int(state["hidden"][k])] for k in rows.tolist()}
        requests = [
            Request(city.name, texts[k], tuple(state["segments"][k])) for k, city in cities.items()
        ]
        found = self.oracle.answer(requests, [rngs[k] for k in rows])
        for (k, city), reply in zip(cities.items(), found, strict=True):
            if isinstance(reply, Exception):
                if self._raise:
                    raise reply
                errors[k], replies[k] = str(reply), UNKNOWN
            else:
                replies[k] = city.mask(shown(reply))[: self.max_reply]


class GuessMyCityEnv(TextEnv):
    """:class:`GuessMyCity` as a ``gymnasium.Env``."""

    model_type = GuessMyCity


class GuessMyCityVectorEnv(TextVectorEnv):
    """:class:`GuessMyCity` as a ``gymnasium.vector.VectorEnv``."""

    model_type = GuessMyCity
