"""Who answers the questions of a guessing game: a table, a noisy table, a recording, a cache.

An oracle answers a batch, so that a language model sees all games at once. It never decides whether
a guess is right: games do that themselves by the name alone, so that no wording of a question can
talk an oracle into a win. An answer that could not be had is an :class:`OracleError` in its place
in the list, never a "No.".
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from envs.text.letters import plain

QUESTION_LIMIT = 200
"""Longest question that is passed on, in characters."""


class OracleError(RuntimeError):
    """An oracle could not answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question of one game.

    Attributes:
        hidden: The word to be guessed.
        question: As the agent asked it.
        history: The conversation before it, (role, text) each.
    """

    hidden: str
    question: str
    history: tuple[tuple[str, str], ...]


Answer = str | OracleError
Table = Callable[[str, str], str]
"""From a hidden word and a question to the true answer."""


class Oracle(Protocol):
    """Answers questions about hidden words."""

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return an answer, or the error that prevented it, for each request.

        Args:
            requests: Questions of different games.
            rngs: Generator of each game; an oracle that draws uses the game's own.
        """


class TableOracle:
    """Answers what the table says.

    Args:
        table: The game's table.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return the true answers."""
        return [self._table(request.hidden, request.question) for request in requests]


class NoisyOracle:
    """Answers what the table says but turns a "Yes." or "No." round with probability ``p``.

    Args:
        table: The game's table.
        p: Probability of a wrong answer.

    Raises:
        ValueError: ``p`` is outside [0, 1].
    """

    OPPOSITE = {"Yes.": "No.", "No.": "Yes."}  # noqa: RUF012

    def __init__(self, table: Table, p: float) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"noisy oracle: p must be in [0, 1], got {p}")
        self.p = float(p)
        self._table = table

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return the answers; exactly one number is drawn from each game's generator."""
        answers: list[Answer] = []
        for request, rng in zip(requests, rngs, strict=True):
            true = self._table(request.hidden, request.question)
            answers.append(self.OPPOSITE.get(true, true) if rng.random() < self.p else true)
        return answers


class CachedOracle:
    """Keeps what another oracle answered, by hidden word and normalised question, in an SQLite
    file.

    Errors are not kept. With a cache in the way an oracle cannot depend on the history.

    Args:
        inner: The oracle to ask when an answer is not there.
        path: File of the cache; ``:memory:`` for one that is not kept.
    """

    def __init__(self, inner: Oracle, path: str | Path) -> None:
        self._inner = inner
        self._base = sqlite3.connect(str(path), isolation_level=None)
        self._base.execute(
            "create table if not exists answers"
            " (hidden text, question text, answer text, primary key (hidden, question))"
        )
        self.hits = 0
        self.misses = 0

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return kept answers; ask for the others in one batch, each question once."""
        keys = [(request.hidden, _normalised(request.question)) for request in requests]
        known: dict[tuple[str, str], Answer] = {}
        for key in set(keys):
            query = "select answer from answers where hidden = ? and question = ?"
            row = self._base.execute(query, key).fetchone()
            if row is not None:
                known[key] = row[0]
        missing = {key: k for k, key in reversed(list(enumerate(keys))) if key not in known}
        places = sorted(missing.values())
        self.hits += sum(key in known for key in keys)
        self.misses += len(places)
        if places:
            found = self._inner.answer([requests[k] for k in places], [rngs[k] for k in places])
            for k, answer in zip(places, found, strict=True):
                known[keys[k]] = answer
                if isinstance(answer, str):
                    row = (*keys[k], answer)
                    self._base.execute("insert or replace into answers values (?, ?, ?)", row)
        return [known[key] for key in keys]

    def close(self) -> None:
        """Close the file."""
        self._base.close()


class ReplayOracle:
    """Answers from a recording and from nothing else.

    Args:
        path: JSON lines with ``hidden``, ``question`` and ``answer``.

    Raises:
        ValueError: A line lacks one of them.
    """

    def __init__(self, path: str | Path) -> None:
        self._answers: dict[tuple[str, str], str] = {}
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                key = (entry["hidden"], _normalised(entry["question"]))
                self._answers[key] = str(entry["answer"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error!r}") from None

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return the recorded answers, or an error where none was recorded."""
        answers: list[Answer] = []
        for request in requests:
            key = (request.hidden, _normalised(request.question))
            unknown = OracleError(f"no recorded answer to {request.question!r:.80}")
            answers.append(self._answers.get(key, unknown))
        return answers


ORACLES = ("table", "noisy", "local-lm", "http", "cached", "replay")


def make_oracle(name: str, table: Table, options: dict[str, Any]) -> Oracle:
    """Return an oracle by name.

    Args:
        name: One of :data:`ORACLES`.
        table: The game's table.
        options: Arguments of the oracle. Those of ``cached`` are ``path``, ``inner`` (a name) and
            ``options`` (the inner oracle's own).

    Raises:
        ValueError: The name or an option is unknown.
        ImportError: A package is missing (``local-lm``).
    """
    from envs.text.http_oracle import HTTPOracle
    from envs.text.lm_oracle import LocalLMOracle

    makers: dict[str, Callable[..., Oracle]] = {
        "table": lambda: TableOracle(table),
        "noisy": lambda p=0.1: NoisyOracle(table, p),
        "local-lm": LocalLMOracle,
        "http": HTTPOracle,
        "cached": lambda path, inner="table", options=None: CachedOracle(
            make_oracle(inner, table, options or {}), path
        ),
        "replay": ReplayOracle,
    }
    if name not in makers:
        raise ValueError(f"oracle must be one of {', '.join(ORACLES)}, got {name!r}")
    try:
        return makers[name](**options)
    except TypeError as error:
        raise ValueError(f"oracle {name}: {error}") from None


def _normalised(question: str) -> str:
    return plain(question, QUESTION_LIMIT) or question[:QUESTION_LIMIT]
