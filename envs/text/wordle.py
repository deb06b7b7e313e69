"""Wordle: find a five-letter word from coloured guesses."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.core import State
from envs.core.canvas import Canvas
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.guessing import hidden_option
from envs.text.letters import plain
from envs.text.model import TextModel, Turn
from envs.text.resources import words

LIMIT = 6
_TILES = {"g": "green", "y": "orange", "-": "#565d6b"}
GREEN = 242
"""Pattern of five greens; a pattern is a number of base 3: 0 grey, 1 yellow, 2 green."""

PROMPT = (
    "Guess a five-letter word in six tries. Each letter is answered by g (right letter, right "
    "place),"
    " y (right letter, wrong place) or - (not in the word)."
)
ILLEGAL = "That is not a word of the list."
PATTERNS = np.array(
    [" ".join("-yg"[code // 3**k % 3] for k in range(4, -1, -1)) for code in range(243)]
    + [ILLEGAL],
    object,
)


@functools.cache
def word_lists() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words that may be hidden and, with these first, those that may be guessed."""
    answers = words("answers.txt")
    known = set(answers)
    return answers, answers + tuple(w for w in words("allowed.txt.gz") if w not in known)


@functools.cache
def letters_of() -> np.ndarray:
    """Return the letters of every word that may be guessed, int8 ``[words, 5]``."""
    joined = "".join(word_lists()[1]).encode()
    return (np.frombuffer(joined, np.uint8).reshape(-1, 5) - ord("a")).astype(np.int8)


def colour(guesses: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return the pattern of each guess, in two passes.

    Greens come first; each of the other letters is yellow while the hidden word has letters of its
    kind left that are neither green nor taken by a yellow before it.

    Args:
        guesses: Letters ``[n, 5]``.
        hidden: Letters ``[n, 5]``.

    Returns:
        Int64 ``[n]``: digits of base 3, the first letter's first.
    """
    green = guesses == hidden
    free = ~green  # letters of the hidden word that no colour has used yet
    pattern = np.where(green, 2, 0)
    for place in range(5):
        same = free & (hidden == guesses[:, place : place + 1]) & ~green[:, place : place + 1]
        found = same.any(-1)
        first = same.argmax(-1)
        free[np.flatnonzero(found), first[found]] = False
        pattern[:, place] += found
    code: np.ndarray = pattern @ np.array([81, 27, 9, 3, 1])
    return code


class Wordle(TextModel):
    """One of 1,699 common words is hidden; 8,500 or so may be guessed.

    Every guess that is not the word costs 1, an illegal one too; the sixth ends the game.
    """

    id = "text/wordle-v0"
    max_action = 40

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.words = word_lists()
        self._index = {word: k for k, word in enumerate(self.words)}
        self._letters = letters_of()

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Hide a word in each game: ``options["hidden"]``, or one drawn."""
        hidden = {word: self._index[word] for word in self.answers}
        given = hidden_option(self.id, options, hidden) if options else None
        drawn = [int(rng.integers(len(self.answers))) for rng in rngs]
        return {"hidden": np.array(drawn) if given is None else np.full(len(rngs), given)}

    def prompts(self, state: State) -> list[str]:
        """Return the rules."""
        return [PROMPT] * len(state["hidden"])

    def word(self, text: str) -> int:
        """Return the index of the word that a text is, or -1; "g u e s s" is a word too."""
        read = plain(text, self.max_action)
        if read is None:
            return -1
        return self._index.get(re.sub(r"[ .!\"']", "", read), -1)

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Colour one guess in each game."""
        known = self._index
        guessed = np.array([known.get(text, -2) for text in texts], np.int64)
        for k in np.flatnonzero(guessed == -2):
            guessed[k] = self.word(texts[k])
        valid = guessed >= 0
        pattern = colour(self._letters[guessed], self._letters[state["hidden"]])
        pattern[~valid] = len(PATTERNS) - 1
        state["won"] = won = pattern == GREEN
        reward = np.where(won, 0.0, -1.0)
        return Turn(PATTERNS[pattern], reward, won | (state["turn"] >= LIMIT), valid)

    def render(self, state: State) -> np.ndarray:
        """Return the board of row 0: a row of coloured tiles for each try."""
        canvas = Canvas(360, 430, (0, 5.4), (6.45, 0), background="night")
        texts = [text for _, text in list(state["segments"][0])[1:]]
        for row in range(LIMIT):
            guess, marks = texts[2 * row : 2 * row + 2] or ("", "")
            known = marks != ILLEGAL and bool(marks)
            read = re.sub(r"[^a-z]", "", guess.lower())[:5].ljust(5)
            for place in range(5):
                x, y = 0.25 + place, 0.25 + row
                fill = _TILES[marks[2 * place]] if known else "#2b303b"
                canvas.rectangle(x, y, x + 0.9, y + 0.9, fill, "grey")
                colour = "white" if known else "red"
                canvas.text((x + 0.45, y + 0.47), read[place].upper(), 32, colour, face="bold")
        return canvas.array()


class WordleEnv(TextEnv):
    """:class:`Wordle` as a ``gymnasium.Env``."""

    model_type = Wordle


class WordleVectorEnv(TextVectorEnv):
    """:class:`Wordle` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Wordle
