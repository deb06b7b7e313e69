"""When a branch has to stop: stop tokens and sequences, and the budgets of its request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.branches import DRAWN, Branch, Sample, State
from rlcore.inference.request import Request
from rlcore.inference.scheduler import Scheduler


class WatchedTokens:
    """The tokens after which some branch has to be looked at.

    Attributes:
        mask: bool ``[V]``.
    """

    def __init__(self, vocab_size: int) -> None:
        self.mask: NDArray[np.bool_] = np.zeros(vocab_size, np.bool_)
        self._watchers: Counter[int] = Counter()

    def add(self, ids: Set[int]) -> None:
        """Watch tokens, once more."""
        for token in ids:
            self._watchers[token] += 1
            self.mask[token] = True

    def remove(self, ids: Set[int]) -> None:
        """Undo an :meth:`add`."""
        for token in ids:
            self._watchers[token] -= 1
            self.mask[token] = self._watchers[token] > 0


def watched_ids(request: Request) -> set[int]:
    """Return the tokens that can stop a branch of a request."""
    return {*request.stop_ids, *(sequence[-1] for sequence in request.stop_sequences)}


def stops(branch: Branch) -> bool:
    """Return whether a branch's last token, drawn by the model, ends it."""
    request, stretch = branch.sample.request, branch.stretch
    if not (request.stop_ids or request.stop_sequences):
        return False
    if not stretch.ids or stretch.kinds[-1] != DRAWN:
        return False
    if stretch.ids[-1] in request.stop_ids:
        return True
    return any(
        stretch.ids[-len(sequence) :].tolist() == list(sequence)
        and stretch.kinds[-len(sequence) :] == bytes((DRAWN,)) * len(sequence)
        for sequence in request.stop_sequences
    )


class Budgets:
    """Keeps a sample's tokens within its limits.

    The limit of new tokens is shared: all branches draw on one live count. So that the count need
    not be looked at in every step, each row gets a number of tokens that cannot exceed the limit.

    Args:
        scheduler: Has the rows.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def count(self, sample: Sample) -> list[Branch]:
        """Bring a sample's count up to date; return the branches that decode, oldest first."""
        seated = sample.in_state(State.DECODE)
        for branch in seated:
            self.scheduler.pull(branch)
        return seated

    def share(self, sample: Sample, seated: list[Branch]) -> list[Branch]:
        """Set the tokens until each row is looked at again; return branches at the path's end."""
        ended = [branch for branch in seated if branch.position + 1 >= sample.path_end]
        running = [branch for branch in seated if branch not in ended]
        left = sample.token_limit - sample.generated
        each = max(left // max(len(running), 1), 1)
        most = min(each, self.scheduler.log.capacity // 2)
        for branch in running:
            path = sample.path_end - 1 - branch.position
            self.scheduler.rows.remaining[branch.row] = min(most, path)
        return ended
