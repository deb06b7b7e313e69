"""What a caller holds while a request runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rlcore.inference.branches import DRAWN, GIVEN, Branch, Fork, Sample, State, Stretch
from rlcore.inference.errors import EngineError
from rlcore.inference.request import FinishReason, Request
from rlcore.inference.trace import ParallelTrace

if TYPE_CHECKING:
    from rlcore.inference.engine import Engine


class NewToken(NamedTuple):
    """A token as it comes.

    Attributes:
        sample: Which of the request's samples.
        path: Child index at each fork from the root to its branch.
        position: Its position.
        id: The token.
        log_prob: Under the law that it was drawn from; 0 for a forced one.
        forced: Whether the engine chose it.
        raw_log_prob: Under the softmax of the model's logits; 0 for a forced one.
    """

    sample: int
    path: tuple[int, ...]
    position: int
    id: int
    log_prob: float
    forced: bool
    raw_log_prob: float


class BranchHandle:
    """A branch that the caller may fork, join, extend and drop.

    Args:
        engine: The engine that runs it.
        branch: The branch.
    """

    def __init__(self, engine: Engine, branch: Branch) -> None:
        self._engine = engine
        self._branch = branch

    @property
    def path(self) -> tuple[int, ...]:
        """Child index at each fork from the root."""
        return self._branch.path

    @property
    def running(self) -> bool:
        """Whether it draws tokens or waits for its turn to."""
        return self._branch.state in (State.QUEUED, State.PREFILL, State.DECODE)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it stopped; ``None`` while it runs or waits for its children."""
        return self._branch.finish_reason

    @property
    def token_ids(self) -> list[int]:
        """The tokens of its own that are known so far, without its children's."""
        self._engine.pull(self._branch)
        own = [part for part in self._branch.parts if isinstance(part, Stretch)]
        return [token for stretch in own for token in stretch.ids]

    def fork(self, n: int, forced: Sequence[Sequence[int]] | None = None) -> list[BranchHandle]:
        """Let ``n`` children go on from here; see :meth:`BranchTree.fork`.

        Raises:
            RequestError: A forced token is not in the vocabulary.
        """
        for i, ids in enumerate(forced or ()):
            self._engine.check_ids(ids, f"forced[{i}]")
        self._settle()
        children = self._engine.tree.fork(self._branch, n, forced)
        self._engine.budget([self._branch.sample])
        return [BranchHandle(self._engine, child) for child in children]

    def join(self, order: Sequence[int] | None = None, forced: Sequence[int] = ()) -> None:
        """Take the children in and go on; see :meth:`BranchTree.join`.

        Raises:
            RequestError: A forced token is not in the vocabulary.
        """
        self._engine.check_ids(forced, "forced")
        self._settle()
        self._engine.tree.join(self._branch, order, forced)

    def extend(self, ids: Sequence[int]) -> None:
        """Append given tokens to a stopped branch and let it go on."""
        self._engine.check_ids(ids, "ids")
        self._settle()
        self._engine.tree.extend(self._branch, ids)

    def _settle(self) -> None:
        """Act on what was launched, so that the branch is what its tokens say.

        Raises:
            BranchError: Its request has ended.
        """
        self._engine.drain()
        self._engine.check_running(self._branch.sample)

    def stop(self) -> None:
        """Stop the branch where it is and keep what it has, to be joined, forked or extended."""
        self._engine.drain()
        if self.running:
            self._engine.tree.end(self._branch, "stop")

    def drop(self) -> None:
        """Stop the branch and its descendants, and give up their blocks.

        The root takes its whole sample with it.
        """
        self._engine.drain()
        if self._branch.parent is None:
            self._engine.finish(self._branch.sample, "dropped")
            self._engine.forget([self._branch.sample])
        else:
            self._engine.tree.drop(self._branch)


class RequestHandle:
    """A submitted request.

    Args:
        engine: The engine that runs it.
        request: What was asked.
        samples: Its samples.
    """

    def __init__(self, engine: Engine, request: Request, samples: Sequence[Sample]) -> None:
        self._engine = engine
        self.request = request
        self._samples = list(samples)
        self._roots = [sample.root for sample in samples]
        self.traces: list[ParallelTrace | None] = [None] * len(self._samples)
        self._told: dict[Stretch, int] = {}

    @property
    def done(self) -> bool:
        """Whether all samples have ended."""
        return None not in self.traces

    @property
    def sample(self) -> Sample:
        """The first sample."""
        return self._samples[0]

    @property
    def roots(self) -> list[BranchHandle]:
        """The first branch of each sample."""
        return [BranchHandle(self._engine, root) for root in self._roots]

    @property
    def root(self) -> BranchHandle:
        """The first branch of the first sample."""
        return self.roots[0]

    def result(self) -> list[ParallelTrace]:
        """Run the engine until the request has ended; return a trace a sample.

        Raises:
            EngineError: Nothing is left to run: a branch waits for the caller.
        """
        while not self.done:
            self._engine.run_one(self)
        return [trace for trace in self.traces if trace is not None]

    def finish(self) -> list[ParallelTrace]:
        """End samples whose branches have stopped and wait for the caller; return the traces.

        Raises:
            EngineError: A branch still runs.
        """
        self._engine.drain()
        for sample, root in zip(self._samples, self._roots, strict=True):
            if sample.in_state(State.QUEUED, State.PREFILL, State.DECODE):
                raise EngineError("a request can be finished when its branches have stopped")
            self._engine.finish(sample, root.finish_reason or "stop")
        return self.result()

    def reopen(self, max_new_tokens: int, max_path_tokens: int | None = None) -> RequestHandle:
        """Let an ended request with ``keep`` go on under new budgets.

        Its root is held: extend it or fork it.

        Args:
            max_new_tokens: Most tokens to come.
            max_path_tokens: As in a :class:`Request`.

        Raises:
            EngineError: It still runs, was not kept, or has several samples.
            RequestTooLargeError: That many tokens could not fit.
        """
        if len(self._samples) != 1:
            raise EngineError(f"only one sample can be reopened, there are {len(self._samples)}")
        return self._engine.reopen(self.sample, max_new_tokens, max_path_tokens)

    def abort(self) -> None:
        """End all samples at once; their traces hold what was drawn so far."""
        self._engine.drain()
        for sample in self._samples:
            self._engine.finish(sample, "aborted")

    def release(self) -> None:
        """Give up the blocks that a finished request with ``keep`` still has."""
        if any(sample.finish_reason is None for sample in self._samples):
            raise EngineError("a request that still runs is aborted, not released")
        self._engine.forget(self._samples)

    def new_tokens(self) -> list[NewToken]:
        """Return the new tokens that have come since the last call."""
        news: list[NewToken] = []
        for sample, root in zip(self._samples, self._roots, strict=True):
            for branch, stretch in _stretches(root):
                self._engine.pull(branch)
                told = self._told.get(stretch, 0)
                for i in range(told, len(stretch.ids)):
                    if stretch.kinds[i] != GIVEN:
                        news.append(_new_token(sample.index, branch.path, stretch, i))
                self._told[stretch] = len(stretch.ids)
        return news

    def stream(self) -> Iterator[NewToken]:
        """Run the engine and yield the request's tokens as they come."""
        while not self.done:
            self._engine.run_one(self)
            yield from self.new_tokens()


def _stretches(branch: Branch) -> Iterator[tuple[Branch, Stretch]]:
    for part in branch.parts:
        if isinstance(part, Fork):
            for child in part.children:
                yield from _stretches(child)
        else:
            yield branch, part


def _new_token(sample: int, path: tuple[int, ...], stretch: Stretch, i: int) -> NewToken:
    return NewToken(
        sample,
        path,
        stretch.start + i,
        stretch.ids[i],
        stretch.log_probs[i],
        stretch.kinds[i] != DRAWN,
        stretch.raw_log_probs[i],
    )
