"""The sinks of the run folder: ``metrics.jsonl`` and ``events.jsonl``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlcore.tracking.jsonl import JsonlWriter
from rlcore.tracking.tracker import Record, SinkDisabledError

METRICS_FILE = "metrics.jsonl"
EVENTS_FILE = "events.jsonl"
BACKLOG = 10_000


class JsonlSink:
    """Appends records to ``metrics.jsonl`` and events to ``events.jsonl``.

    While the disk is full or the folder unwritable, lines wait in memory (the newest
    :data:`BACKLOG`) and are written when it recovers; ``on_trouble`` is told once.

    Args:
        run_dir: The run folder; made if missing.
        on_trouble: Called with one line when writing starts to fail.
        now: Wall-clock time for events.
    """

    name = "metrics.jsonl"

    def __init__(
        self,
        run_dir: str | Path,
        *,
        on_trouble: Callable[[str], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._metrics = JsonlWriter(Path(run_dir) / METRICS_FILE)
        self._events = JsonlWriter(Path(run_dir) / EVENTS_FILE)
        self._waiting: deque[tuple[JsonlWriter, dict[str, Any]]] = deque()
        self._on_trouble = on_trouble
        self._told = False
        self._now = now
        self._env_steps: float = 0
        self.dropped = 0

    def log(self, record: Record) -> None:
        """Append one record."""
        if "eval/return_mean" not in record:
            self._env_steps = record.get("step/env", self._env_steps)
        self._append(self._metrics, dict(record))

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append one event with the time and the environment step of the newest record."""
        time = self._now().isoformat(timespec="milliseconds")
        line = {"time": time, "kind": kind, "step/env": self._env_steps, **fields}
        self._append(self._events, line)

    def _append(self, writer: JsonlWriter, line: dict[str, Any]) -> None:
        if len(self._waiting) >= BACKLOG:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((writer, line))
        try:
            self._flush()
        except OSError as error:
            if not self._told and self._on_trouble is not None:
                self._told = True
                self._on_trouble(f"cannot write {writer.path} ({error}); keeping lines in memory")

    def _flush(self) -> None:
        while self._waiting:
            writer, line = self._waiting[0]
            writer.write(line)
            self._waiting.popleft()

    def close(self) -> None:
        """Write what waits and close the files.

        Raises:
            SinkDisabledError: Lines could not be written.
        """
        try:
            self._flush()
        except OSError as error:
            raise SinkDisabledError(f"{len(self._waiting)} lines were lost: {error}") from error
        finally:
            self._metrics.close()
            self._events.close()
