"""Okapi BM25 over a fixed collection of short texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from envs.text.fuzzy import words_of


class BM25:
    """Ranks documents by the words that they share with a query.

    The score of a document d is the sum over query words w of
    idf(w) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean length)) with
    idf(w) = ln(1 + (N - n_w + 0.5) / (n_w + 0.5)) (Robertson and Zaragoza 2009).

    Args:
        documents: Their texts.
        k1: Saturation of repeated words.
        b: Weight of document length.
    """

    def __init__(self, documents: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        counts = [Counter(words_of(text)) for text in documents]
        lengths = np.array([sum(count.values()) for count in counts], float)
        mean = lengths.mean() if len(lengths) else 1.0
        postings: dict[str, list[tuple[int, int]]] = {}
        for k, count in enumerate(counts):
            for word, times in count.items():
                postings.setdefault(word, []).append((k, times))
        self._size = len(documents)
        self._postings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, found in postings.items():
            places, times = np.array(found).T
            idf = np.log1p((self._size - len(places) + 0.5) / (len(places) + 0.5))
            damped = times + k1 * (1 - b + b * lengths[places] / mean)
            self._postings[word] = (places, idf * times * (k1 + 1) / damped)

    def scores(self, query: str) -> np.ndarray:
        """Return the score of every document, float64 ``[documents]``; a word counts once."""
        total = np.zeros(self._size)
        for word in dict.fromkeys(words_of(query)):
            if word in self._postings:
                places, weights = self._postings[word]
                total[places] += weights
        return total

    def search(self, query: str, limit: int) -> list[int]:
        """Return the documents that share a word with the query, best (then earliest) first."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:limit]
        return [int(k) for k in order if scores[k] > 0]
