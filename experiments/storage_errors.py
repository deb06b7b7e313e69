"""Errors of storage that say where, and before anything is computed for a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlcore.errors import ConfigError


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Let an ``OSError`` that names no file, as that of a full disk does not, name ``place``."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        ConfigError: It is a folder or read-only, or there is no folder for it.
    """
    reason = None
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = f"there is no folder {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "it is read-only"
    if reason is not None:
        raise ConfigError(f"{path}: cannot be written ({reason})")


def reason_of(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file cannot be read, without its name."""
    return str((error.strerror if isinstance(error, OSError) else None) or error)
