"""The console: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from rlcore.errors import ConfigError
from rlcore.tracking.tracker import Record, Sink
from rlcore.tracking.view import RunView

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

PLAIN_EVERY_S = 10.0
LIVE_HZ = 4.0


class PlainConsole:
    """One line each ``every_s`` seconds, without escape codes; says what it waits for if idle.

    Args:
        view: Turns values into text.
        stream: Where lines go.
        every_s: Seconds between lines.
        background: Whether a thread keeps time, so that a stalled run is reported as well.
    """

    name = "console"

    def __init__(
        self,
        view: RunView,
        stream: TextIO | None = None,
        *,
        every_s: float = PLAIN_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self._view = view
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._first_record = True
        self._said_at = clock()
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._keep_time, name="console", daemon=True)
            self._thread.start()

    def log(self, record: Record) -> None:
        """Take a record; the first one is shown at once."""
        with self._lock:
            self._view.log(record)
            rates = ("perf/env_steps_per_s", "perf/tokens_per_s")
            if self._first_record and any(name in record for name in rates):
                self._first_record = False
                self._say(self._view.line())
        self.tick()

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Take an event; notable ones and changes of state are printed at once."""
        with self._lock:
            line = self._view.event(kind, fields)
            if line:
                self._print(line)
            elif kind == "state":
                self._say(self._view.line())

    def tick(self) -> None:
        """Print the state if a line is due."""
        with self._lock:
            if self._clock() - self._said_at >= self._every_s:
                self._say(self._view.line())

    def close(self) -> None:
        """Print the last state and stop."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2.0)
        with self._lock:
            self._say(self._view.line())

    def _say(self, line: str) -> None:
        self._said_at = self._clock()
        self._print(f"{self._view.name}: {line}")

    def _print(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal or pipe is gone; the run goes on
            self._stopped.set()

    def _keep_time(self) -> None:
        while not self._stopped.wait(min(1.0, self._every_s)):
            self.tick()


class LiveConsole:
    """A table that is redrawn in place, at most four times a second; needs ``rich``.

    Args:
        view: Turns values into text.
        stream: A terminal.
    """

    name = "console"

    def __init__(self, view: RunView, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._view = view
        self._lock = threading.Lock()
        # Standard output and error stay as they are: redirecting them would swallow what the
        # program prints if the run is killed.
        self._live: Live = Live(
            get_renderable=self._table,
            console=Console(file=stream or sys.stderr),
            refresh_per_second=LIVE_HZ,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def log(self, record: Record) -> None:
        """Take a record; it is shown at the next refresh."""
        with self._lock:
            self._view.log(record)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Take an event; notable ones are printed above the table."""
        with self._lock:
            line = self._view.event(kind, fields)
        if line:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows = self._view.rows()
        table = Table(title=Text(self._view.name, style="bold"), show_header=False, expand=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold", min_width=48)
        for label, text in rows:
            table.add_row(label, Text(text))
        return table


def check_mode(mode: str) -> None:
    """Check a console mode.

    Raises:
        ConfigError: Unknown mode.
    """
    if mode not in ("auto", "live", "plain", "none"):
        raise ConfigError(f"track.console must be auto, live, plain or none, got {mode!r}")


def make_console(mode: str, view: RunView, stream: TextIO | None = None) -> Sink | None:
    """Return the console sink for ``auto``, ``live``, ``plain`` or ``none``.

    ``auto`` is live on a terminal and plain elsewhere (pipes, files, ``TERM=dumb``).

    Raises:
        ConfigError: Unknown mode.
    """
    stream = stream or sys.stderr
    check_mode(mode)
    if mode == "none":
        return None
    if mode == "live" or (mode == "auto" and _is_terminal(stream)):
        return LiveConsole(view, stream)
    return PlainConsole(view, stream)


def _is_terminal(stream: TextIO) -> bool:
    import importlib.util
    import os

    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and importlib.util.find_spec("rich") is not None
    )
