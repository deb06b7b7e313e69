"""How alike two phrases are, whatever the order of their words and however often one is said."""

from __future__ import annotations

import functools
import re

_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def ratio(first: str, second: str) -> float:
    """Return 100 times twice the longest common subsequence over the two lengths.

    That is one minus the normalised edit distance with insertions and deletions alone.
    """
    if not first and not second:
        return 100.0
    row = [0] * (len(second) + 1)
    for a in first:
        diagonal = 0
        for k, b in enumerate(second, 1):
            diagonal, row[k] = row[k], diagonal + 1 if a == b else max(row[k], row[k - 1])
    return 200.0 * row[-1] / (len(first) + len(second))


@functools.lru_cache(1 << 15)
def token_set_ratio(first: str, second: str) -> float:
    """Return the best ratio among common words, and common words with either side's own, 0-100.

    Words are taken as sets and sorted. It is 100 where the words of one are all in the other, and 0
    where one has no words.
    """
    a, b = set(words_of(first)), set(words_of(second))
    if not a or not b:
        return 0.0
    common = " ".join(sorted(a & b))
    if common and (a <= b or b <= a):
        return 100.0
    left = f"{common} {' '.join(sorted(a - b))}".strip()
    right = f"{common} {' '.join(sorted(b - a))}".strip()
    best = ratio(left, right)
    if common:
        best = max(best, ratio(common, left), ratio(common, right))
    return best
