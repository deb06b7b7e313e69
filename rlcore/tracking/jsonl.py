"""Append-only JSON lines: the log that everything else mirrors.

One object a line, written with a single ``write`` and flushed to the operating system, so a killed
process leaves at most one partial line, at the end. Numbers that are not finite become the strings
``"NaN"``, ``"Infinity"``, ``"-Infinity"``: every line is valid JSON, and ``read_jsonl`` turns them
back into floats.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlcore.errors import RunFolderError

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(value: Any) -> Any:
    """Return ``value`` with non-finite floats as strings and NumPy scalars as Python numbers."""
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float) or hasattr(value, "item"):
        number = value if isinstance(value, float) else value.item()
        if isinstance(number, float) and not math.isfinite(number):
            return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        return number
    return str(value)


def decode(value: Any) -> Any:
    """Undo ``encode`` for the values that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


class JsonlWriter:
    """Appends objects to a file; a partial last line that a killed process left is cut off first.

    Args:
        path: The file; made if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _cut_partial_line(self.path)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one object.

        Raises:
            OSError: The disk is full or the file is not writable; nothing of the record remains.
        """
        data = json.dumps(encode(record), allow_nan=False).encode() + b"\n"
        size = os.fstat(self._fd).st_size
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _cut_partial_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def iter_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file; a missing file is an empty one.

    Raises:
        RunFolderError: A line other than the last is not a JSON object.
    """
    path = Path(path)
    if not path.exists():
        return
    bad: tuple[int, str] | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if bad is not None:
                raise RunFolderError(f"{path}:{bad[0]}: not a JSON object: {bad[1]!r}")
            record = _parse(line)
            if record is None:
                bad = (number, line[:80].decode("utf-8", "replace"))
                continue
            yield record


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return decode(record) if isinstance(record, dict) else None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Return all objects of a JSON-lines file; tolerates one partial line at the end.

    Raises:
        RunFolderError: A line other than the last is not a JSON object.
    """
    return list(iter_jsonl(path))
