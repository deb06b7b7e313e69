"""The tracker: hands each record and event to every sink, and outlives any of them.

It lives in one process, the parent. A sink that raises or hangs is dropped with one warning; the
run goes on. ``metrics.jsonl`` is one of the sinks and the only one that the run's reader needs.

Kinds of events that sinks know: ``started`` (``actor``), ``state`` (``state``, ``waiting_for``),
``note``, ``warning``, ``actor_lost``, ``checkpoint``, ``eval``, ``resumed``, ``video`` (``path``,
``env_steps``), ``done`` and ``failed``; the console prints their ``message``. Others are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from rlcore.redact import Redactor
from rlcore.tracking.health import HealthMonitor
from rlcore.tracking.metrics import AXES

Record = dict[str, float]


class Sink(Protocol):
    """Somewhere that records and events go."""

    name: str

    def log(self, record: Record) -> None:
        """Take one metric record."""
        ...

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Take one event."""
        ...

    def close(self) -> None:
        """Write out what is pending and let go; called once."""
        ...


class SinkDisabledError(Exception):
    """A sink can no longer be used; the message says why, for the one warning."""


class Tracker:
    """Hands records and events to sinks; no failure of a sink reaches the caller.

    Args:
        sinks: In the order they are called.
        redactor: Applied to every event before any sink sees it.
        health: Watches records; its warnings become ``warning`` events.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        *,
        redactor: Redactor | None = None,
        health: HealthMonitor | None = None,
    ) -> None:
        self._sinks = list(sinks)
        self._redactor = redactor or Redactor.from_environment()
        self._health = health
        self._axes: Record = {}
        self._dropped_by_closed = 0
        self._closed = False

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of the sinks still in use."""
        return tuple(sink.name for sink in self._sinks)

    @property
    def dropped(self) -> int:
        """Records that bounded queues of slow sinks did not take."""
        return self._dropped_by_closed + sum(getattr(s, "dropped", 0) for s in self._sinks)

    def log(self, record: Mapping[str, Any]) -> None:
        """Record one mapping from metric name to number.

        Axes that the record lacks are those of the newest training record.
        """
        numbers = {name: _number(value) for name, value in record.items()}
        if all(axis in numbers for axis in AXES):
            self._axes = {axis: numbers[axis] for axis in AXES}
        numbers = self._axes | numbers
        if self.dropped:
            numbers["tracker/dropped"] = self.dropped
        self._each(lambda sink: sink.log(dict(numbers)))
        for warning in self._health.feed(numbers) if self._health is not None else ():
            self.event("warning", message=warning)

    def event(self, kind: str, **fields: Any) -> None:
        """Record something that happened, for example ``event("actor_lost", actor=1)``."""
        clean = self._redactor.data(fields)
        self._each(lambda sink: sink.event(kind, clean))

    def resumed(self, *, env_steps: int, updates: int, wall_s: float, resumes: int) -> None:
        """Mark where a resumed run goes on; readers drop what lies beyond it."""
        self.log(
            {
                "step/env": env_steps,
                "step/update": updates,
                "time/wall_s": wall_s,
                "run/resumes": resumes,
            }
        )

    def close(self) -> None:
        """Close every sink; each has its own deadline. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        # The console and the log come first in the list and last here, to take late warnings.
        for sink in reversed(list(self._sinks)):
            self._guard(sink, lambda sink: sink.close())
            self._forget(sink)

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            if sink in self._sinks:
                self._guard(sink, call)

    def _guard(self, sink: Sink, call: Callable[[Sink], None]) -> None:
        # The isolation boundary: sinks wrap third-party code, and none of its failures may reach
        # the training loop. Each one is reported, once, and ends the sink.
        try:
            call(sink)
        except Exception as error:
            self._forget(sink)
            reason = str(error) if isinstance(error, SinkDisabledError) else describe(error)
            self.event(
                "warning",
                message=f"tracking with {sink.name} is off for the rest of this run: {reason}",
            )

    def _forget(self, sink: Sink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)
            self._dropped_by_closed += getattr(sink, "dropped", 0)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def describe(error: BaseException) -> str:
    """Return an error as one line: its type and the first line of its message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _number(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return float(value)
