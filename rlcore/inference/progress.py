"""A line that says how far a long job is: rewritten on a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

AFTER_S = 2.0
TERMINAL_S = 0.25
PLAIN_S = 10.0


class ProgressLine:
    """Shows ``done of total`` and a rate; says nothing where the job ends at once.

    Args:
        what: What is counted, in the plural.
        total: How many there are.
        shown: Whether to show anything.
        stream: Where; standard error by default.
    """

    def __init__(self, what: str, total: int, shown: bool = True, stream: TextIO | None = None):
        self._what, self._total, self._shown = what, total, shown
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._begin = time.monotonic()
        self._next = self._begin + (AFTER_S if self._terminal else PLAIN_S)
        self._written = False

    def update(self, done: int, tokens: int) -> None:
        """Tell how many are done, and how many tokens there are in all."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + (TERMINAL_S if self._terminal else PLAIN_S)
            rate = tokens / max(now - self._begin, 1e-9)
            text = f"{done:,} of {self._total:,} {self._what}, {tokens:,} tokens, {rate:,.0f}/s"
            self._write(f"\r\033[K{text}" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        self._written = True

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal and self._written:
            self._write("\r\033[K")
