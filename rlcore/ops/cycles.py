"""Python's search for reference cycles, kept off where it would cost or spoil something."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_inside = 0
_enabled = True


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles; what is in none is freed as ever.

    Threads may be inside at once: the search goes on when the last has left, where it went on
    before the first came.
    """
    global _inside, _enabled
    with _LOCK:
        if _inside == 0:
            _enabled = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0 and _enabled:
                gc.enable()
