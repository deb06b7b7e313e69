"""Loops compiled by the optional package numba, kept on disk from process to process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

_LOG = logging.getLogger(__name__)
RELAXED = frozenset({"reassoc", "contract"})
"""What lets sums be vectorised; infinities and NaN keep their meaning."""


@cache
def compiled(kernel: Callable[..., Any], *parts: Callable[..., Any]) -> Callable[..., Any]:
    """Return the compiled form of a loop; it releases the interpreter's lock.

    The machine code is cached beside the file, or in ``NUMBA_CACHE_DIR``. Numba uses it as long as
    the file is unchanged: a kernel must not depend on a constant or function of another file.
    Where no folder can be written every process compiles anew.

    Args:
        kernel: A function of arrays and numbers.
        parts: Functions of the same file that it calls. Their names are bound to the compiled
            forms in the kernel's module, which is where numba looks them up.
    """
    for part in parts:
        kernel.__globals__[part.__name__] = _njit(part)
    return _njit(kernel)


def _njit(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    options = {"nogil": True, "fastmath": set(RELAXED)}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError as error:
        _LOG.warning("%s is compiled anew in every process: %s", function.__qualname__, error)
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
