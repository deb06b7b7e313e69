"""The log of the process that drives a run: its warnings, and the traceback of what ended it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlcore.redact import RedactingFilter, Redactor

DRIVER_LOG = "driver.log"
_log = logging.getLogger(__name__)


class _FileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Leave it at that: a full disk must not stop a run, and the record is on stderr too."""


@contextmanager
def driver_log(folder: Path) -> Iterator[None]:
    """Append what this process logs to ``folder/driver.log``, secrets replaced."""
    try:
        handler = _FileHandler(folder / DRIVER_LOG, encoding="utf-8")
    except OSError as error:
        _log.warning("%s is not written: %s", folder / DRIVER_LOG, error.strerror)
        yield
        return
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(Redactor.from_environment()))
    root = logging.getLogger()
    added: list[logging.Handler] = [handler]
    if not root.handlers and logging.lastResort is not None:
        added.append(logging.lastResort)  # stderr, which logging leaves out once there are others
    for one in added:
        root.addHandler(one)
    try:
        yield
    except Exception:
        # Told to the user by whoever catches it; the file alone keeps where it came from.
        record = _log.makeRecord(
            __name__, logging.ERROR, __file__, 0, "the run ended here", (), sys.exc_info()
        )
        handler.handle(record)
        raise
    finally:
        for one in added:
            root.removeHandler(one)
        with suppress(OSError):  # as in handleError
            handler.close()
