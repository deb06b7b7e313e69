"""An engine in a thread of its own: others submit, listen and cancel; only it computes."""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from rlcore.errors import NonFiniteError
from rlcore.inference.engine import Engine
from rlcore.inference.errors import EngineError
from rlcore.inference.handles import RequestHandle
from rlcore.inference.request import FinishReason, Request
from rlcore.inference.scoring import alternatives

LOG = logging.getLogger("rlcore.serve")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Delta:
    """New tokens of one sample.

    Attributes:
        sample: Which of the request's samples.
        ids: The tokens.
        log_probs: Their log-probabilities under the model, whatever law they were drawn from.
        finish_reason: Why the sample ended with them, or ``None``.
    """

    sample: int
    ids: Sequence[int]
    log_probs: Sequence[float]
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was refused, or that ended with the engine."""

    error: Exception


Emit = Callable[[Delta | Failure], None]


class Ticket:
    """A request that was handed in.

    Args:
        service: Whose.
    """

    def __init__(self, service: EngineService) -> None:
        self._service = service

    def cancel(self, sample: int | None = None) -> None:
        """End one sample, or all; does nothing where they have ended."""
        self._service.post(lambda: self._service.end(self, sample))


@dataclass
class _Running:
    handle: RequestHandle
    emit: Emit
    told: set[int]


class EngineService:
    """Runs an engine for callers in other threads.

    ``emit`` of a request is called in the engine's thread and must return at once.

    Args:
        engine: Nobody else may touch it until :meth:`close`.

    Attributes:
        failed: What ended the engine, if anything did: nothing runs after it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running: dict[Ticket, _Running] = {}
        self._open = True
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, emit: Emit) -> Ticket:
        """Hand in a request; what becomes of it is told to ``emit``."""
        ticket = Ticket(self)
        self.post(lambda: self._start(ticket, request, emit))
        return ticket

    def call(self, function: Callable[[Engine], Result]) -> Future[Result]:
        """Run a function in the engine's thread, between two steps."""
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if self.failed is not None:
                    raise EngineError(f"the engine ended: {self.failed}")
                future.set_result(function(self._engine))
            except Exception as error:
                future.set_exception(error)

        self.post(run)
        return future

    def alternatives(
        self, prompt: Sequence[int], new: Sequence[int], top: int
    ) -> Future[list[list[tuple[int, float]]]]:
        """Score an answer; see :func:`rlcore.inference.scoring.alternatives`."""
        return self.call(lambda engine: alternatives(engine.model, prompt, new, top))

    def close(self) -> None:
        """End all requests and the thread."""
        self.post(self._close)
        self._thread.join()

    # -- in the engine's thread -------------------------------------------------------------------

    def post(self, call: Callable[[], None]) -> None:
        """Let the engine's thread make a call."""
        self._calls.put(call)

    def end(self, ticket: Ticket, sample: int | None) -> None:
        """End a request's samples; only for the engine's thread."""
        running = self._running.get(ticket)
        if running is None or self.failed is not None:
            return
        if sample is None:
            del self._running[ticket]
            running.handle.abort()
        else:
            running.told.add(sample)
            running.handle.roots[sample].drop()

    def _run(self) -> None:
        while self._open:
            try:
                self._take_calls()
                if self._running and self.failed is None:
                    self._engine.step()
                    self._tell()
            except Exception as error:
                LOG.exception("the engine failed")
                self._fail(error)

    def _take_calls(self) -> None:
        """Make the calls that wait; wait for one where nothing else is to be done."""
        idle = not self._running or self.failed is not None
        while self._open:
            try:
                call = self._calls.get(block=idle)
            except queue.Empty:
                return
            call()
            idle = idle and not self._running

    def _start(self, ticket: Ticket, request: Request, emit: Emit) -> None:
        try:
            if self.failed is not None:
                raise EngineError(f"the engine ended: {self.failed}")
            handle = self._engine.submit(request)
        except Exception as error:  # what is wrong with one request is told to its caller alone
            emit(Failure(error))
            return
        self._running[ticket] = _Running(handle, emit, set())

    def _tell(self) -> None:
        for ticket, running in list(self._running.items()):
            deltas = _deltas(running)
            if any(map(math.isnan, (value for delta in deltas for value in delta.log_probs))):
                running.emit(Failure(NonFiniteError("the model's logits are not finite")))
                self.end(ticket, None)
                self._engine.store.forget()
                continue
            for delta in deltas:
                running.emit(delta)
            if running.handle.done:
                del self._running[ticket]

    def _fail(self, error: Exception) -> None:
        self.failed = error
        for running in self._running.values():
            running.emit(Failure(EngineError(f"the engine ended: {error}")))
        self._running.clear()

    def _close(self) -> None:
        self._open = False
        if self.failed is None:
            for running in self._running.values():
                running.handle.abort()
        self._running.clear()


def _deltas(running: _Running) -> list[Delta]:
    """Return what is new of each sample that has not ended before."""
    handle, told = running.handle, running.told
    news: dict[int, tuple[list[int], list[float]]] = {}
    for token in handle.new_tokens():
        ids, log_probs = news.setdefault(token.sample, ([], []))
        ids.append(token.id)
        log_probs.append(token.raw_log_prob)
    found = []
    for sample, trace in enumerate(handle.traces):
        ended: Any = None if trace is None else trace.finish_reason
        if sample not in told and (sample in news or ended):
            ids, log_probs = news.get(sample, ([], []))
            found.append(Delta(sample, ids, log_probs, ended))
            if ended:
                told.add(sample)
    return found
