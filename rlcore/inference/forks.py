"""Fork, join and drop: edits of what branches see. Nothing here knows of tags.

No key or value is copied or computed again by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlcore.inference.branches import (
    FORCED,
    GIVEN,
    Branch,
    Fork,
    Sample,
    State,
    Stretch,
    most_blocks,
)
from rlcore.inference.errors import BranchError, BudgetError, RequestTooLargeError
from rlcore.inference.request import FinishReason
from rlcore.inference.scheduler import Scheduler


class BranchTree:
    """Changes the tree of a sample's branches.

    Args:
        scheduler: Seats and lifts branches.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.store = scheduler.store
        self._stretches = 0

    def new_stretch(
        self, sees: Sequence[Stretch], parents: Sequence[Stretch], start: int
    ) -> Stretch:
        """Return an empty stretch that one branch holds."""
        self._stretches += 1
        return Stretch(self._stretches, sees, parents, start)

    def check_room(self, sample: Sample, more_stretches: int = 0, more_tokens: int = 0) -> None:
        """Raise ``RequestTooLargeError`` unless a sample's blocks fit, whatever comes."""
        most = most_blocks(
            sample,
            self.store.block_size,
            more_stretches=more_stretches,
            more_tokens=more_tokens,
        )
        if most > self.scheduler.tree_limit:
            raise RequestTooLargeError(
                f"request {sample.arrival} can come to need {most} blocks of "
                f"{self.store.block_size} slots; the pool has {self.store.pool.num_blocks} and a "
                f"row lists at most {self.scheduler.rows.table.shape[1]}"
            )

    # The operations.

    def fork(
        self, parent: Branch, count: int, forced: Sequence[Sequence[int]] | None = None
    ) -> list[Branch]:
        """Let ``count`` children see what ``parent`` sees; the parent waits for their join.

        Args:
            parent: A branch that runs or is held.
            count: How many.
            forced: First tokens of each child, chosen by the caller; with none, a child draws its
                first token from the law of the parent's next one.

        Raises:
            BranchError: The parent has an open fork already or is gone, or the arguments differ in
                length.
            BudgetError: The forced tokens are more than the budget has left.
            RequestTooLargeError: The blocks of all branches could not fit into the pool.
        """
        forced = [()] * count if forced is None else forced
        if count < 1 or len(forced) != count:
            raise BranchError(f"a fork of {count} branches got {len(forced)} beginnings")
        if parent.state in (State.FORKED, State.GONE):
            raise BranchError(
                f"branch {parent.path} is {parent.state.name} and cannot be forked: "
                "wanted one that runs or is held"
            )
        self._check_budget(parent.sample, sum(map(len, forced)))
        self._check_path(parent.sample, parent.position + max(map(len, forced)))
        self.check_room(parent.sample, count)
        self.scheduler.lift([parent])
        parents = self._close(parent)
        fork = Fork(parent.position)
        for ids in forced:
            fork.children.append(self._child(parent, fork.position + 1, parents, ids))
        parent.parts.append(fork)
        parent.state = State.FORKED
        parent.sample.n_forks += 1
        for child in fork.children:
            self.scheduler.enqueue(child)
        return fork.children

    def _close(self, branch: Branch) -> tuple[Stretch, ...]:
        """Close a branch's stretch and let the branch see it; return what keys chain to next."""
        stretch = branch.stretch
        if not stretch.ids:
            return stretch.parents
        stretch.closed = True
        branch.visible.append(stretch)
        branch.stretch = self.new_stretch(branch.visible, (stretch,), stretch.end)
        return branch.stretch.parents

    def _child(
        self, parent: Branch, start: int, parents: Sequence[Stretch], forced: Sequence[int]
    ) -> Branch:
        sample = parent.sample
        stretch = self.new_stretch(parent.visible, parents, start)
        child = Branch(sample, parent, (*parent.path, parent.born), stretch)
        parent.born += 1
        for seen in parent.visible:
            seen.holders += 1
        child.visible = list(parent.visible)
        self.force(child, forced)
        sample.branches.append(child)
        return child

    def _check_budget(self, sample: Sample, forced: int) -> None:
        for branch in sample.in_state(State.DECODE):
            self.scheduler.pull(branch)
        left = sample.token_limit - sample.generated
        if forced > left:
            raise BudgetError(f"{forced} tokens are forced, the budget has {left} left")

    def _check_path(self, sample: Sample, last: int) -> None:
        if last >= sample.path_end:
            raise BudgetError(
                f"forced tokens reach position {last}, the path ends before {sample.path_end}"
            )

    def force(self, branch: Branch, ids: Sequence[int]) -> None:
        """Append new tokens that the caller chose."""
        branch.stretch.extend(ids, FORCED, self.store.version)
        branch.sample.generated += len(ids)

    def end(self, branch: Branch, reason: FinishReason) -> None:
        """Stop a branch and keep what it has."""
        self.scheduler.lift([branch])
        branch.state = State.HELD
        branch.finish_reason = reason

    def extend(self, branch: Branch, ids: Sequence[int]) -> None:
        """Append given tokens to a held branch and let it go on.

        Raises:
            BranchError: It is not held.
            RequestTooLargeError: The tokens do not fit.
        """
        if branch.state is not State.HELD:
            raise BranchError(
                f"branch {branch.path} is {branch.state.name}: only a held one can be extended"
            )
        self.check_room(branch.sample, more_tokens=len(ids))
        branch.stretch.extend(ids, GIVEN, self.store.version)
        if branch.parent is None:
            branch.sample.path_end += len(ids)  # what is given is no new token
        branch.finish_reason = None
        self.scheduler.enqueue(branch)

    def join(
        self, parent: Branch, order: Sequence[int] | None = None, forced: Sequence[int] = ()
    ) -> None:
        """Let ``parent`` see its children's tokens and go on after the longest of them.

        Args:
            parent: A branch with an open fork.
            order: Indices of the children to take in, in listed order; the others are dropped.
                ``None``: all that were not dropped.
            forced: First tokens after the join; wanted unless no child is taken in.

        Raises:
            BranchError: The branch has ended, there is no open fork, a child still runs, an index
                is wrong or given twice, or nothing is forced.
            BudgetError: The forced tokens are more than the budget has left.
        """
        if parent.state is State.GONE:
            raise BranchError(f"branch {parent.path} has ended: {parent.finish_reason}")
        fork = parent.fork
        if fork is None:
            raise BranchError(f"branch {parent.path} has no open fork to join")
        alive = [i for i, child in enumerate(fork.children) if child.state is not State.GONE]
        order = alive if order is None else list(order)
        if len(set(order)) != len(order) or not set(order) <= set(alive):
            raise BranchError(f"join got the children {order}, wanted each of {alive} at most once")
        if order and not forced:
            raise BranchError("a join wants at least one forced token: the next is drawn after it")
        for i in order:
            if fork.children[i].state is not State.HELD:
                state = fork.children[i].state.name
                raise BranchError(f"child {i} is {state}: a join wants children that have stopped")
        ends = [fork.children[i].position for i in order]
        self._check_budget(parent.sample, len(forced))
        self._check_path(parent.sample, max(ends, default=fork.position) + len(forced))
        self._take_in(parent, fork, order)
        self.force(parent, forced)
        self.scheduler.enqueue(parent)

    def _take_in(self, parent: Branch, fork: Fork, order: Sequence[int]) -> None:
        self.scheduler.note_peak(parent.sample)
        for i, child in enumerate(fork.children):
            if i not in order and child.state is not State.GONE:
                self.drop(child)
        seen = len(parent.visible)
        parents: list[Stretch] = []
        longest = 0
        for child in (fork.children[i] for i in order):
            self._close(child)
            own = child.visible[seen:]
            longest = max(longest, child.position - fork.position)
            parents += own[-1:]
            for stretch in own:
                stretch.holders += 1
            parent.visible += own
            self.release([child])
        fork.order = list(order)
        old = parent.stretch
        parent.stretch = self.new_stretch(
            parent.visible, parents or old.parents, fork.position + 1 + longest
        )
        parent.parts.append(parent.stretch)
        parent.finish_reason = None

    def drop(self, branch: Branch, reason: FinishReason = "dropped") -> None:
        """Stop a branch and its descendants, and give up what they hold."""
        if branch.state is State.GONE:
            return
        for part in branch.parts:
            if isinstance(part, Fork) and part.order is None:
                for child in part.children:
                    self.drop(child, reason)
        self.scheduler.lift([branch])
        self.scheduler.note_peak(branch.sample)
        branch.finish_reason = reason
        self.release([branch])

    def release(self, branches: Iterable[Branch]) -> None:
        """Give up what lifted branches hold, once; their samples' peaks were noted."""
        left = []
        for branch in branches:
            branch.state = State.GONE
            branch.sample.branches.remove(branch)
            for stretch in branch.stretches():
                stretch.holders -= 1
                if stretch.holders == 0:
                    self.scheduler.remember(stretch)
                    left.append(stretch)
        self.store.cool(left)
