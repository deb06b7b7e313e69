"""Conversations: the keys and values of earlier turns stay, each turn computes its new tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlcore.inference.config import SamplingParams
from rlcore.inference.errors import EngineError
from rlcore.inference.handles import RequestHandle
from rlcore.inference.request import Request
from rlcore.inference.trace import ParallelTrace

if TYPE_CHECKING:
    from rlcore.inference.engine import Engine


class Session:
    """A conversation that stays open.

    Its blocks may be taken back while it is idle and others need them; they are then computed
    again at the next turn.

    Args:
        engine: Runs the turns.
        sampling: How all turns are drawn.
        stop_ids: End a turn.
        stop_sequences: Likewise.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: SamplingParams,
        stop_ids: Sequence[int],
        stop_sequences: Sequence[Sequence[int]],
    ) -> None:
        self._engine = engine
        self._sampling = sampling
        self._stop_ids, self._stop_sequences = tuple(stop_ids), tuple(stop_sequences)
        self._handle: RequestHandle | None = None
        self.closed = False

    def send(
        self, ids: Sequence[int], max_new_tokens: int, max_path_tokens: int | None = None
    ) -> RequestHandle:
        """Append given tokens and let the model answer.

        Args:
            ids: What the other side says; wanted in every turn.
            max_new_tokens: Most tokens of the answer.
            max_path_tokens: As in a :class:`Request`.

        Returns:
            A handle whose trace holds the whole conversation; the turn begins at ``turn_start``.

        Raises:
            EngineError: The session is closed, or its last turn still runs.
            RequestError: The tokens do not fit the vocabulary, or the pool.
        """
        if self.closed:
            raise EngineError("the session is closed")
        request = Request(
            prompt=list(ids),
            max_new_tokens=max_new_tokens,
            max_path_tokens=max_path_tokens,
            sampling=self._sampling,
            stop_ids=self._stop_ids,
            stop_sequences=self._stop_sequences,
            keep=True,
        )
        if self._handle is None:
            self._handle = self._engine.submit(request)
        else:
            self._engine.check_ids(request.prompt_ids(), "ids")
            self._handle = self._next_turn(self._handle, request)
        return self._handle

    def _next_turn(self, last: RequestHandle, request: Request) -> RequestHandle:
        if not last.done:
            raise EngineError("the session's last turn still runs: wait for its result first")
        ids = request.prompt_ids()
        # The last turn draws no more, whatever its budget; what is given now needs room too.
        last.sample.token_limit = last.sample.generated
        self._engine.tree.check_room(last.sample, more_tokens=len(ids) + request.max_new_tokens)
        handle = last.reopen(request.max_new_tokens, request.max_path_tokens)
        start = handle.sample.turn_start
        handle.root.extend(ids)
        self._engine.place_turn(handle.sample)
        handle.sample.turn_start = start
        return handle

    @property
    def trace(self) -> ParallelTrace | None:
        """The conversation up to the last finished turn."""
        return None if self._handle is None else self._handle.traces[0]

    def close(self) -> None:
        """Give up the conversation's blocks; a running turn is aborted."""
        if self.closed:
            return
        self.closed = True
        if self._handle is not None and not self._handle.done:
            self._handle.abort()
        if self._handle is not None:
            self._engine.forget([self._handle.sample])

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()
