"""Errors of storage that say where: what a full disk raises names no file by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Let an ``OSError`` of the block that names no file name ``place``."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise
