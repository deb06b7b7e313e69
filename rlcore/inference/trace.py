"""What a request leaves: the tokens in one canonical order, and everything that belongs to them.

In the canonical order the children of a fork follow each other, before what comes after their
join. Two intervals a nesting level say what a token did not see, so that one masked forward pass
over the whole trace equals the generation branch by branch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlcore.inference.branches import DRAWN, FORCED, Branch, Fork, Sample, Stretch
from rlcore.inference.request import FinishReason


@dataclass(frozen=True)
class ForkSpan:
    """A fork of a trace.

    Attributes:
        start, stop: Canonical indices of the children's tokens.
        position: Position of the token that the children follow.
        joined: Whether the parent went on.
        children: In listed order.
    """

    start: int
    stop: int
    position: int
    joined: bool
    children: tuple[BranchSpan, ...]


@dataclass(frozen=True)
class BranchSpan:
    """A branch of a trace.

    Attributes:
        path: Child index at each fork from the root.
        start, stop: Canonical indices of its tokens, those of its children included.
        finish_reason: Why it ended.
        forks: In order.
    """

    path: tuple[int, ...]
    start: int
    stop: int
    finish_reason: FinishReason | None
    forks: tuple[ForkSpan, ...]

    def walk(self) -> Iterator[BranchSpan]:
        """Yield the branch and its descendants."""
        yield self
        for fork in self.forks:
            for child in fork.children:
                yield from child.walk()


class TokenRun(NamedTuple):
    """A run of a trace's tokens.

    Attributes:
        position: Position of the first.
        length: How many.
        hidden: ``[gs, ps)`` that they do not see, one a fork around them, outermost first.
    """

    position: int
    length: int
    hidden: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ParallelTrace:
    """The tokens of a sample, ``L`` of them, with ``depth`` levels of forks.

    What few callers look at is built when it is first asked for, and kept.

    Attributes:
        ids: int64 ``[L]``, in canonical order.
        kinds: uint8 ``[L]``, ``GIVEN``, ``FORCED`` or ``DRAWN``.
        log_probs: float64 ``[L]``, under the law that each token was drawn from; 0 where it was
            not drawn.
        raw_log_probs: float64 ``[L]``, under the softmax of the model's logits.
        versions: int64 ``[L]``, version of the weights that drew each token.
        runs: Tokens that follow each other in position and see the same.
        depth: Levels of forks.
        tree: The root's span.
        prompt_tokens: Leading tokens that were given.
        turn_start: First token of the last turn of a session; 0 without one.
        finish_reason: Why the sample ended.
        invalid_fork: Why a fork was refused, or ``None``.
        critical_path_steps: New tokens along the longest path, a fork's children counted once; in a
            session those of the last turn.
        forward_passes: Steps in which the sample took part.
        prefill_tokens: Known tokens that were computed, not found in the cache.
        n_forks: Forks that were executed.
        peak_blocks: Most blocks that it had at once.
        preemptions: How often its blocks were taken away for another request.
    """

    ids: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    log_probs: NDArray[np.float64]
    raw_log_probs: NDArray[np.float64]
    versions: NDArray[np.int64]
    runs: tuple[TokenRun, ...]
    depth: int
    tree: BranchSpan
    prompt_tokens: int
    turn_start: int
    finish_reason: FinishReason
    invalid_fork: str | None
    critical_path_steps: int
    forward_passes: int
    prefill_tokens: int
    n_forks: int
    peak_blocks: int
    preemptions: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """int64 ``[L]``."""
        return np.concatenate([np.arange(r.position, r.position + r.length) for r in self.runs])

    @cached_property
    def forced(self) -> NDArray[np.bool_]:
        """bool ``[L]``, tokens that the engine chose: tags, labels."""
        forced: NDArray[np.bool_] = self.kinds == FORCED
        return forced

    @cached_property
    def drawn(self) -> NDArray[np.bool_]:
        """bool ``[L]``, tokens that the model drew; the rest was given or forced."""
        drawn: NDArray[np.bool_] = self.kinds == DRAWN
        return drawn

    @property
    def gs(self) -> NDArray[np.int32]:
        """int32 ``[depth, L]``: token ``q`` does not see ``gs[d, q] <= k < ps[d, q]``."""
        return self._intervals[0]

    @property
    def ps(self) -> NDArray[np.int32]:
        """int32 ``[depth, L]``; see :attr:`gs`."""
        return self._intervals[1]

    @cached_property
    def _intervals(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        gs = np.zeros((self.depth, len(self)), np.int32)
        ps = np.zeros_like(gs)
        at = 0
        for run in self.runs:
            for level, (first, own) in enumerate(run.hidden):
                gs[level, at : at + run.length] = first
                ps[level, at : at + run.length] = own
            at += run.length
        return gs, ps

    @property
    def new_ids(self) -> NDArray[np.int64]:
        """The tokens after the prompt."""
        return self.ids[self.prompt_tokens :]

    @property
    def new_tokens(self) -> int:
        """How many tokens were drawn or forced."""
        return int((self.drawn | self.forced).sum())

    @property
    def degree(self) -> float:
        """New tokens over those of the longest path, of the last turn: 1 without forks."""
        new = int((self.drawn | self.forced)[self.turn_start :].sum())
        return new / max(self.critical_path_steps, 1)


class _Writer:
    """Walks a tree of branches and writes down its tokens.

    Attributes:
        stretches: Those with tokens, in canonical order.
        runs: What the trace says of each.
        length: Tokens so far.
        depth: Levels of forks.
    """

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.runs: list[TokenRun] = []
        self.length = 0
        self.depth = 0

    def branch(self, branch: Branch, hidden: tuple[tuple[int, int], ...]) -> BranchSpan:
        """Write a branch; ``hidden`` holds (gs, ps) of each enclosing fork."""
        start, forks = self.length, []
        self.depth = max(self.depth, len(hidden))
        for part in branch.parts:
            if isinstance(part, Fork):
                forks.append(self.fork(part, hidden))
            elif part.ids:
                self.stretches.append(part)
                self.runs.append(TokenRun(part.start, len(part.ids), hidden))
                self.length += len(part.ids)
        return BranchSpan(branch.path, start, self.length, branch.finish_reason, tuple(forks))

    def fork(self, fork: Fork, hidden: tuple[tuple[int, int], ...]) -> ForkSpan:
        """Write the children of a fork: those that were joined, or all that were not dropped."""
        first = self.length
        if fork.order is None:
            children = [c for c in fork.children if c.finish_reason != "dropped"]
        else:
            children = [fork.children[i] for i in fork.order]
        spans = tuple(self.branch(c, (*hidden, (first, self.length))) for c in children)
        return ForkSpan(first, self.length, fork.position, fork.order is not None, spans)


_COLUMNS = (
    ("ids", np.int64),
    ("kinds", np.uint8),
    ("log_probs", np.float64),
    ("raw_log_probs", np.float64),
    ("versions", np.int64),
)


def build_trace(sample: Sample, reason: FinishReason) -> ParallelTrace:
    """Return the trace of a sample whose branches are off their rows.

    Args:
        sample: The sample. The trace takes over the arrays of a lone stretch that is not kept.
        reason: Why it ended.
    """
    writer = _Writer()
    tree = writer.branch(sample.root, ())
    first, *more = writer.stretches
    columns: list[NDArray[Any]] = [np.frombuffer(getattr(first, x), kind) for x, kind in _COLUMNS]
    # A buffer that is looked at cannot grow, and others may see a closed stretch.
    if more or sample.request.keep or first.closed:
        rest = [[np.frombuffer(getattr(s, x), kind) for s in more] for x, kind in _COLUMNS]
        columns = [np.concatenate([x, *xs]) for x, xs in zip(columns, rest, strict=True)]
    ids, kinds, log_probs, raw_log_probs, versions = columns
    return ParallelTrace(
        ids=ids,
        kinds=kinds,
        log_probs=log_probs,
        raw_log_probs=raw_log_probs,
        versions=versions,
        runs=tuple(writer.runs),
        depth=writer.depth,
        tree=tree,
        prompt_tokens=sample.prompt_tokens,
        turn_start=sample.turn_start,
        finish_reason=reason,
        invalid_fork=sample.invalid_fork,
        critical_path_steps=max([r.position + r.length for r in writer.runs])
        - sample.first_position,
        forward_passes=sample.forward_passes(),
        prefill_tokens=sample.prefill_tokens,
        n_forks=sample.n_forks,
        peak_blocks=sample.peak_blocks,
        preemptions=sample.preemptions,
    )
