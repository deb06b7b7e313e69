"""Play of guessing games by information gain over a table of answers."""

from __future__ import annotations

import functools

import numpy as np


class InformationGain:
    """Chooses questions whose answers part the remaining candidates most evenly.

    With at most three candidates it guesses one of them: a guess that misses costs no more than a
    question and excludes one. Ties go to the first question.

    Args:
        answers: Number of the answer, ``[questions, candidates]``.
    """

    def __init__(self, answers: np.ndarray) -> None:
        self.answers = answers
        self._kinds = int(answers.max()) + 1
        self._choices: dict[bytes, int] = {}

    def question(self, candidates: np.ndarray) -> int:
        """Return the question to ask about candidates (indices), or -1 to guess the first."""
        if len(candidates) <= 3:
            return -1
        key = candidates.tobytes()
        if key not in self._choices:
            if len(self._choices) > 1 << 14:
                self._choices.clear()
            self._choices[key] = self._best(candidates)
        return self._choices[key]

    def _best(self, candidates: np.ndarray) -> int:
        part = self.answers[:, candidates]
        counts = np.stack([(part == kind).sum(-1) for kind in range(self._kinds)], -1)
        share = counts / len(candidates)
        entropy = -np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0).sum(-1)
        best = int(entropy.argmax())
        return best if entropy[best] > 1e-9 else -1

    def left(self, candidates: np.ndarray, question: int, answer: int) -> np.ndarray:
        """Return the candidates of which a question has that answer."""
        return np.compress(self.answers[question, candidates] == answer, candidates)

    def cost(self, candidates: np.ndarray) -> float:
        """Return the mean number of questions that do not win, all candidates alike probable."""
        n = len(candidates)
        question = self.question(candidates)
        if question < 0:
            return (n - 1) / 2 if n <= 3 else (n - 1) / n * (1 + self.cost(candidates[1:]))
        parts = [self.left(candidates, question, kind) for kind in range(self._kinds)]
        return 1 + sum(len(part) / n * self.cost(part) for part in parts if len(part))


@functools.cache
def least_cost(candidates: int) -> float:
    """Return the mean cost if some yes-or-no question could part the candidates in any way.

    No play can cost less: it is the optimum over all binary questions, whatever the table.
    """
    if candidates <= 1:
        return 0.0
    n = candidates
    guess = (n - 1) / n * (1 + least_cost(n - 1))
    ask = min(
        (1 + (k * least_cost(k) + (n - k) * least_cost(n - k)) / n for k in range(1, n // 2 + 1)),
        default=guess,
    )
    return min(guess, ask)
