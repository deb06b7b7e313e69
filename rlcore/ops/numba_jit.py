"""Loops compiled by the optional package numba, kept on disk from process to process."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
RELAXED = frozenset({"reassoc", "contract"})
"""What lets sums be vectorised; infinities and NaN keep their meaning."""


@cache
def compiled(
    kernel: Callable[..., Any],
    *parts: Callable[..., Any],
    intrinsics: tuple[Callable[..., Any], ...] = (),
) -> Callable[..., Any]:
    """Return the compiled form of a loop; it releases the interpreter's lock.

    The machine code is cached beside the file, or in ``NUMBA_CACHE_DIR``, and used as long as the
    files of the kernel and its parts are unchanged: they must not depend on anything of a third.
    Where no folder can be written every process compiles anew.

    Args:
        kernel: A function of arrays and numbers.
        parts: Functions that it calls. Their names are bound to the compiled forms in the kernel's
            module, which is where numba looks them up.
        intrinsics: Definitions of single instructions; ``prefetch_intrinsic`` defines ``prefetch``.
    """
    from numba import config

    if config.DISABLE_JIT:
        return kernel
    for part in parts:
        kernel.__globals__[part.__name__] = _njit(part)
    for definition in intrinsics:
        name = definition.__name__.removesuffix("_intrinsic")
        kernel.__globals__[name] = _instruction(definition)
    # Numba's own stamp is of the kernel's file alone; this file has the options.
    sources = (kernel, *map(_plain, parts), *intrinsics, _njit)
    try:
        checksum = _checksum(frozenset(one.__code__.co_filename for one in sources))
        fast = _njit(kernel)
        fast.enable_caching()
    except (RuntimeError, OSError) as error:
        _LOG.warning("%s is compiled anew in every process: %s", kernel.__qualname__, error)
        return _njit(kernel)  # type: ignore[no-any-return]
    index = fast._cache._cache_file
    index._source_stamp = (index._source_stamp, checksum)
    return fast  # type: ignore[no-any-return]


def _njit(function: Callable[..., Any]) -> Any:
    import numba

    # Python's division looks for zeros, which keeps a loop from being vectorised.
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(RELAXED)}
    return numba.njit(**options)(_plain(function))


def _plain(function: Any) -> Any:
    """Return the Python form of a part, which another thread may have compiled already."""
    return getattr(function, "py_func", function)


@cache
def _instruction(definition: Callable[..., Any]) -> Any:
    from numba.extending import intrinsic

    return intrinsic(definition)


@cache
def _checksum(files: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()
