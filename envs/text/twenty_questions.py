"""Twenty Questions: find an object by questions that are answered with yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core import State, check_choice
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.guessing import check_oracle, hidden_option
from envs.text.model import TextModel, Turn, objects
from envs.text.objects_table import SUBSETS, QuestionReader, object_table, subset_of
from envs.text.oracles import NoisyOracle, Request, TableOracle

PROMPT = (
    "I am thinking of an object. Ask up to 20 questions that I can answer with yes or no, such as"
    ' "Is it alive?"; to guess, ask "Is it an umbrella?".'
)
REPLIES = np.array(["No.", "Yes.", "Invalid question."], object)
NO, YES, UNKNOWN = 0, 1, 2
LIMIT = 20


class TwentyQuestions(TextModel):
    """One of 158 objects is hidden; 103 attributes can be asked for.

    Every question costs 1; naming the object ends the game at no cost; the twentieth question ends
    it too. What is not understood is answered "Invalid question." and costs 1. Whether a guess is
    right is decided by the name alone, whatever the oracle.

    Args:
        subset: ``all`` 158 objects, ``small`` (32) or ``ten``.
        oracle: Who answers: ``table``, ``noisy``, ``local-lm``, ``http``, ``cached`` or
            ``replay``.
        oracle_options: Arguments of the oracle.
        on_oracle_error: ``truncate`` ends the game with ``info["oracle_error"]``, ``raise`` raises.

    Raises:
        ValueError: An argument is none of these.
    """

    id = "text/twenty-questions-v0"

    def __init__(
        self,
        subset: str = "all",
        oracle: str = "table",
        oracle_options: dict[str, Any] | None = None,
        on_oracle_error: str = "truncate",
    ) -> None:
        super().__init__()
        self.table = object_table()
        self.objects = subset_of(check_choice(self.id, "subset", subset, SUBSETS))
        self.reader = QuestionReader(self.max_action)
        count = len(self.table.attributes)
        named = np.eye(len(self.table.names), dtype=bool)
        unknown = np.full((1, named.shape[1]), UNKNOWN)
        # The last row is that of code -1.
        self._answers = np.concatenate([self.table.truth, named, unknown]).astype(np.int64)
        self._guesses_from = count
        self.oracle = check_oracle(self.id, oracle, self.answer, oracle_options)
        # Per instance, where the base class has it per class: the table's answers draw nothing.
        self.__dict__["draws_in_step"] = not isinstance(self.oracle, TableOracle)
        self._raise = (
            check_choice(self.id, "on_oracle_error", on_oracle_error, ("truncate", "raise"))
            == "raise"
        )

    def answer(self, hidden: str, question: str) -> str:
        """Return the table's answer about the object of that name."""
        code = self.reader.codes([question])[0]
        return str(REPLIES[self._answers[code, self.table.names.index(hidden)]])

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Hide an object in each game: ``options["hidden"]``, or one drawn."""
        given = hidden_option(self.id, options, self.table.spellings)
        drawn = [int(rng.integers(len(self.objects))) for rng in rngs]
        return {"hidden": self.objects[drawn] if given is None else np.full(len(rngs), given)}

    def prompts(self, state: State) -> list[str]:
        """Return the rules."""
        return [PROMPT] * len(state["hidden"])

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the names of the info."""
        return {"oracle_error": objects([""] * len(state["hidden"]))}

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Answer one question in each game."""
        hidden = state["hidden"]
        codes = self.reader.codes(texts)
        answers = self._answers[codes, hidden]
        guessed = codes >= self._guesses_from
        state["won"] = won = guessed & (answers == YES)
        errors = objects([""] * len(texts))
        if not isinstance(self.oracle, TableOracle):
            self._ask(state, texts, np.flatnonzero(~guessed), answers, errors, rngs)
        failed = errors != ""
        return Turn(
            replies=REPLIES[answers],
            reward=np.where(won | failed, 0.0, -1.0),
            terminated=(won | (state["turn"] >= LIMIT)) & ~failed,
            valid=answers != UNKNOWN,
            truncated=failed,
            info={"oracle_error": errors},
        )

    def _ask(
        self,
        state: State,
        texts: list[str],
        rows: np.ndarray,
        answers: np.ndarray,
        errors: np.ndarray,
        rngs: Sequence[np.random.Generator],
    ) -> None:
        """Let the oracle answer the questions ``rows``; write its answers and errors."""
        if not isinstance(self.oracle, NoisyOracle):  # a model understands more than the table does
            rows = np.array([k for k in rows if 0 < len(texts[k].strip()) <= self.max_action], int)
        if not len(rows):
            return
        requests = [
            Request(self.table.names[state["hidden"][k]], texts[k], tuple(state["segments"][k]))
            for k in rows
        ]
        found = self.oracle.answer(requests, [rngs[k] for k in rows])
        for k, answer in zip(rows, found, strict=True):
            if isinstance(answer, Exception):
                if self._raise:
                    raise answer
                errors[k] = str(answer)
                answers[k] = UNKNOWN
            else:
                answers[k] = {"Yes.": YES, "No.": NO}.get(answer, UNKNOWN)


class TwentyQuestionsEnv(TextEnv):
    """:class:`TwentyQuestions` as a ``gymnasium.Env``."""

    model_type = TwentyQuestions


class TwentyQuestionsVectorEnv(TextVectorEnv):
    """:class:`TwentyQuestions` as a ``gymnasium.vector.VectorEnv``."""

    model_type = TwentyQuestions
