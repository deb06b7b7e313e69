"""Play of Wordle: greedy entropy, and what it scores exactly."""

from __future__ import annotations

import functools

import numpy as np

from envs.text.wordle import GREEN, LIMIT, colour, letters_of, word_lists


@functools.cache
def pattern_table() -> np.ndarray:
    """Return the pattern of every possible answer guessed for every other, uint8 ``[n, n]``."""
    n = len(word_lists()[0])
    letters = letters_of()[:n]
    table = np.empty((n, n), np.uint8)
    for k in range(n):
        table[k] = colour(np.broadcast_to(letters[k], (n, 5)), letters)
    return table


_choices: dict[tuple[bool, bytes], int] = {}


def best_guess(candidates: np.ndarray, among_candidates: bool = False) -> int:
    """Return the word whose pattern has the greatest entropy over the candidates.

    Args:
        candidates: Indices of the words that can still be the answer.
        among_candidates: Guess only these; else any word that may be hidden, a candidate among
            equals.
    """
    if len(candidates) <= 2:
        return int(candidates[0])
    key = (among_candidates, candidates.tobytes())
    if key not in _choices:
        if len(_choices) > 1 << 14:
            _choices.clear()
        _choices[key] = _entropic(candidates, among_candidates)
    return _choices[key]


def _entropic(candidates: np.ndarray, among_candidates: bool) -> int:
    guesses = candidates if among_candidates else np.arange(len(pattern_table()))
    table = pattern_table()[np.ix_(guesses, candidates)]
    n, width = len(table), 243
    places = table + (np.arange(n) * width)[:, None]
    counts = np.bincount(places.ravel(), minlength=n * width).reshape(n, width)
    surprise = np.where(counts > 1, counts * np.log2(np.maximum(counts, 1)), 0).sum(-1)
    if not among_candidates:
        surprise[candidates] -= 1e-6
    return int(guesses[surprise.argmin()])


def consistent(candidates: np.ndarray, guess: int, pattern: int) -> np.ndarray:
    """Return the candidates that would have given that pattern."""
    return np.compress(pattern_table()[guess, candidates] == pattern, candidates)


def exact_score(among_candidates: bool = False) -> tuple[float, float]:
    """Return what greedy entropy scores, exactly, over every hidden word.

    Args:
        among_candidates: See :func:`best_guess`.

    Returns:
        Mean number of guesses in the games that are won, and mean return of all.
    """
    everyone = np.arange(len(word_lists()[0]))
    wins, guesses, misses = _walk(everyone, 1, among_candidates)
    return guesses / wins, -misses / len(everyone)


def _walk(candidates: np.ndarray, turn: int, among: bool) -> tuple[int, int, int]:
    """Return games won, their guesses, and the misses of all games below a node."""
    guess = best_guess(candidates, among)
    patterns = pattern_table()[guess, candidates]
    wins = int((patterns == GREEN).sum())
    total = (wins, turn * wins, (turn - 1) * wins)
    for pattern in np.unique(patterns[patterns != GREEN]):
        left = candidates[patterns == pattern]
        part = (0, 0, LIMIT * len(left)) if turn == LIMIT else _walk(left, turn + 1, among)
        total = (total[0] + part[0], total[1] + part[1], total[2] + part[2])
    return total
