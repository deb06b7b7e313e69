"""What a request leaves: the tokens in one canonical order, and everything that belongs to them.

In the canonical order the children of a fork follow each other, before what comes after their
join. Two intervals a nesting level say what a token did not see, so that one masked forward pass
over the whole trace equals the generation branch by branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, eq=False)
class ParallelTrace:
    """The tokens of a sample, ``L`` of them, with ``depth`` levels of forks.

    Attributes:
        ids, positions: int64 ``[L]``, in canonical order.
        forced: bool ``[L]``, tokens that the engine chose: tags, labels.
        drawn: bool ``[L]``, tokens that the model drew; the rest was given or forced.
        log_probs: float64 ``[L]``, under the law that each token was drawn from; 0 where it was
            not drawn.
        raw_log_probs: float64 ``[L]``, under the softmax of the model's logits.
        versions: int64 ``[L]``, version of the weights that drew each token.
        gs, ps: int32 ``[depth, L]``: token ``q`` does not see ``gs[d, q] <= k < ps[d, q]``.
        tree: The root's span.
        prompt_tokens: Leading tokens that were given.
        turn_start: First token of the last turn of a session; 0 without one.
        finish_reason: Why the sample ended.
        invalid_fork: Why a fork was refused, or ``None``.
        critical_path_steps: New tokens along the longest path, a fork's children counted once.
        forward_passes: Steps in which the sample took part.
        prefill_tokens: Known tokens that were computed, not found in the cache.
        n_forks: Forks that were executed.
        peak_blocks: Most blocks that it had at once.
        preemptions: How often its blocks were taken away for another request.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    forced: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    log_probs: NDArray[np.float64]
    raw_log_probs: NDArray[np.float64]
    versions: NDArray[np.int64]
    gs: NDArray[np.int32]
    ps: NDArray[np.int32]
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
        """New tokens over those of the longest path: 1 without forks."""
        return self.new_tokens / max(self.critical_path_steps, 1)


class _Writer:
    """Walks a tree of branches and writes down its tokens."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.intervals: list[tuple[tuple[int, int], ...]] = []
        self.length = 0
        self.depth = 0

    def branch(self, branch: Branch, hidden: tuple[tuple[int, int], ...]) -> BranchSpan:
        """Write a branch; ``hidden`` holds (gs, ps) of each enclosing fork."""
        start, forks = self.length, []
        self.depth = max(self.depth, len(hidden))
        for part in branch.parts:
            if isinstance(part, Fork):
                forks.append(self.fork(part, hidden))
            else:
                self.stretches.append(part)
                self.intervals.append(hidden)
                self.length += len(part.ids)
        reason = branch.finish_reason
        return BranchSpan(branch.path, start, self.length, reason, tuple(forks))

    def fork(self, fork: Fork, hidden: tuple[tuple[int, int], ...]) -> ForkSpan:
        """Write the children of a fork: those that were joined, or all that were not dropped."""
        first = self.length
        if fork.order is None:
            children = [c for c in fork.children if c.finish_reason != "dropped"]
        else:
            children = [fork.children[i] for i in fork.order]
        spans = tuple(self.branch(c, (*hidden, (first, self.length))) for c in children)
        return ForkSpan(first, self.length, fork.position, fork.order is not None, spans)


def build_trace(sample: Sample, reason: FinishReason, turn_start: int = 0) -> ParallelTrace:
    """Return the trace of a sample whose branches are off their rows.

    Args:
        sample: The sample.
        reason: Why it ended.
        turn_start: Canonical index of a session's last turn.
    """
    writer = _Writer()
    tree = writer.branch(sample.root, ())
    pieces = [s for s in writer.stretches if s.ids]

    def column(name: str, kind: type[np.generic]) -> NDArray[Any]:
        # Copied at once: a buffer that is looked at cannot grow.
        return _joined([np.frombuffer(getattr(s, name), kind) for s in pieces])

    kinds = column("kinds", np.uint8)
    gs, ps = _intervals(writer)
    return ParallelTrace(
        ids=column("ids", np.int64),
        positions=_joined([np.arange(s.start, s.end) for s in pieces]),
        forced=kinds == FORCED,
        drawn=kinds == DRAWN,
        log_probs=column("log_probs", np.float64),
        raw_log_probs=column("raw_log_probs", np.float64),
        versions=column("versions", np.int64),
        gs=gs,
        ps=ps,
        tree=tree,
        prompt_tokens=sample.prompt_tokens,
        turn_start=turn_start,
        finish_reason=reason,
        invalid_fork=sample.invalid_fork,
        critical_path_steps=max(s.end for s in pieces) - sample.first_position,
        forward_passes=sample.forward_passes(),
        prefill_tokens=sample.prefill_tokens,
        n_forks=sample.n_forks,
        peak_blocks=sample.peak_blocks,
        preemptions=sample.preemptions,
    )


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the parts as one array of its own; most traces have one part."""
    return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)


def _intervals(writer: _Writer) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    gs = np.zeros((writer.depth, writer.length), np.int32)
    ps = np.zeros((writer.depth, writer.length), np.int32)
    at = 0
    for stretch, hidden in zip(writer.stretches, writer.intervals, strict=True):
        for level, (first, own) in enumerate(hidden):
            gs[level, at : at + len(stretch.ids)] = first
            ps[level, at : at + len(stretch.ids)] = own
        at += len(stretch.ids)
    return gs, ps
