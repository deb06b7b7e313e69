"""Runs a slow sink in a side thread behind a bounded queue, so that it cannot slow the run.

The caller's cost is one append. When the queue is full the oldest entry is dropped and counted.
When the sink raises, or does not come back within ``stall_s``, the next call raises
:class:`SinkDisabledError`; the thread is a daemon and is left to itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rlcore.tracking.tracker import Record, Sink, SinkDisabledError, describe

_Entry = tuple[str, Any]


class BackgroundSink:
    """A sink that is made, fed and closed in its own thread.

    Args:
        name: For messages.
        make: Makes the real sink; called in the thread, so slow imports cost the run nothing.
        capacity: Entries that may wait.
        stall_s: Longest time the sink may take for one entry.
        close_s: Longest time ``close`` waits for it to finish.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Sink],
        *,
        capacity: int = 1024,
        stall_s: float = 60.0,
        close_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._make = make
        self._capacity = capacity
        self._stall_s, self._close_s = stall_s, close_s
        self._clock = clock
        self._entries: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    # -- the caller's side ----------------------------------------------------------------------

    def log(self, record: Record) -> None:
        """Queue a record.

        Raises:
            SinkDisabledError: The sink has failed or hangs.
        """
        self._put(("log", record))

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Queue an event.

        Raises:
            SinkDisabledError: The sink has failed or hangs.
        """
        self._put(("event", (kind, dict(fields))))

    def close(self) -> None:
        """Let the thread finish what is queued, for at most ``close_s`` seconds.

        Raises:
            SinkDisabledError: It did not finish, or failed meanwhile.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(self._close_s)
        if self._error is not None:
            raise SinkDisabledError(self._error)
        if self._thread.is_alive():
            raise SinkDisabledError(
                f"it did not finish within {self._close_s:g} s; {len(self._entries)} entries "
                "were not delivered (metrics.jsonl has them all)"
            )

    def _put(self, entry: _Entry) -> None:
        with self._changed:
            if self._error is not None:
                raise SinkDisabledError(self._error)
            since = self._busy_since
            if since is not None and self._clock() - since > self._stall_s:
                self._closing = True  # should it ever come back, it ends
                self._entries.clear()
                raise SinkDisabledError(f"it has not answered for {self._stall_s:g} s")
            if len(self._entries) >= self._capacity:
                self._entries.popleft()
                self.dropped += 1
            self._entries.append(entry)
            self._changed.notify()

    # -- the thread's side ----------------------------------------------------------------------

    def _run(self) -> None:
        # Third-party code runs here; whatever it raises is handed to the caller as one message.
        try:
            self._busy_since = self._clock()
            sink = self._make()
            while (entry := self._next()) is not None:
                if entry[0] == "log":
                    sink.log(entry[1])
                else:
                    sink.event(*entry[1])
            self._busy_since = self._clock()
            sink.close()
        except Exception as error:
            with self._changed:
                self._error = describe(error)
                self._entries.clear()

    def _next(self) -> _Entry | None:
        with self._changed:
            self._busy_since = None
            while not self._entries and not self._closing:
                self._changed.wait()
            if not self._entries:
                return None
            self._busy_since = self._clock()
            return self._entries.popleft()
