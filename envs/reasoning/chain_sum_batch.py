"""Many chain sums at once, as arrays of characters: training data for generative models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.core.arguments import check_integer
from envs.reasoning.chain_sum import SYMBOLS

_PLUS, _EQUALS, _SEMICOLON, _HASH = (SYMBOLS.index(c) for c in "+=;#")
_DIGITS = 3
"""Digits of the largest sum that fits."""

EMPTY = -1
"""What stands where a text has ended, or has not begun."""


@dataclass(frozen=True)
class ChainSums:
    """Texts as indices into :data:`envs.reasoning.chain_sum.SYMBOLS`; ``EMPTY`` elsewhere.

    Attributes:
        prompts: int8 ``[n, P]``, ``3+5+2=``, at the right end.
        responses: int8 ``[n, L]``, running sums and answer, or the answer alone, at the left end.
        answers: int64 ``[n]``.
        long: bool ``[n]``: whether the response has running sums.
    """

    prompts: np.ndarray
    responses: np.ndarray
    answers: np.ndarray
    long: np.ndarray


def chain_sums(
    rng: np.random.Generator,
    n: int,
    *,
    low_terms: int = 4,
    high_terms: int = 8,
    largest: int = 9,
    prompt_length: int = 16,
    response_length: int = 64,
    long_share: float = 0.5,
) -> ChainSums:
    """Return ``n`` items with the texts of :class:`envs.reasoning.chain_sum.ChainSumTask`.

    Args:
        rng: Source of randomness.
        n: Number of items, at least 1.
        low_terms: Fewest terms.
        high_terms: Most terms.
        largest: Largest term, a digit.
        prompt_length: ``P``.
        response_length: ``L``.
        long_share: Share of responses with running sums.

    Raises:
        ValueError: An argument is out of range, or a text does not fit its length.
    """
    place = "chain_sums"
    n = check_integer(place, "n", n, 1)
    low_terms = check_integer(place, "low_terms", low_terms, 2, 64)
    high_terms = check_integer(place, "high_terms", high_terms, low_terms, 64)
    largest = check_integer(place, "largest", largest, 1, 9)
    counts = rng.integers(low_terms, high_terms + 1, n)
    terms = rng.integers(1, largest + 1, (n, high_terms))
    used = np.arange(high_terms) < counts[:, None]
    sums = np.cumsum(np.where(used, terms, 0), 1)
    long = rng.random(n) < long_share

    plus = np.full_like(terms, _PLUS)
    plus[np.arange(n), counts - 1] = _EQUALS
    prompt = np.stack([terms, plus], 2).reshape(n, -1)
    prompts = _packed(prompt, np.repeat(used, 2, 1), prompt_length, right=True)

    steps = [_step(sums[:, k], terms[:, k + 1], sums[:, k + 1]) for k in range(high_terms - 1)]
    kept = [(used[:, k + 1] & long)[:, None] & shown for k, (_, shown) in enumerate(steps)]
    answer, shown = _number(sums[:, -1])
    text = np.concatenate([s for s, _ in steps] + [np.full((n, 1), _HASH), answer], 1)
    mask = np.concatenate([*kept, np.ones((n, 1), bool), shown], 1)
    responses = _packed(text, mask, response_length, right=False)
    return ChainSums(prompts, responses, sums[:, -1], long)


def _step(left: np.ndarray, term: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``left+term=right;`` with room for every digit, and which characters are shown."""
    n = len(left)
    (first, first_shown), (last, last_shown) = _number(left), _number(right)
    middle = np.stack([np.full(n, _PLUS), term, np.full(n, _EQUALS)], 1)
    text = np.concatenate([first, middle, last, np.full((n, 1), _SEMICOLON)], 1)
    every = np.ones((n, 3), bool)
    return text, np.concatenate([first_shown, every, last_shown, every[:, :1]], 1)


def _number(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits of numbers below 1,000 and which of them are no leading zeros."""
    powers = 10 ** np.arange(_DIGITS - 1, -1, -1)
    return value[:, None] // powers % 10, (value[:, None] >= powers) | (powers == 1)


def _packed(text: np.ndarray, shown: np.ndarray, length: int, *, right: bool) -> np.ndarray:
    """Return the shown characters side by side, at one end of ``length`` places."""
    sizes = shown.sum(1)
    if sizes.max() > length:
        raise ValueError(f"chain_sums: a text has {sizes.max()} characters, wanted {length}")
    place = np.cumsum(shown, 1) - 1
    if right:
        place = place + length - sizes[:, None]
    packed = np.full((len(text), length), EMPTY, np.int8)
    row = np.broadcast_to(np.arange(len(text))[:, None], text.shape)
    packed[row[shown], place[shown]] = text[shown]
    return packed


def texts(rows: np.ndarray) -> list[str]:
    """Return rows of indices as texts, without what is ``EMPTY``."""
    symbols = np.array([*SYMBOLS, ""])
    return ["".join(row) for row in symbols[rows]]
