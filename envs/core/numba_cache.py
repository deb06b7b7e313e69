"""Numba kernels kept on disk by a cache that can be neither stale nor in the way.

Numba's own ``cache=True`` looks at the file of a kernel alone: after a change of a constant or of a
function that the kernel takes from another file it goes on with the old machine code. And where no
folder can be written, or a file of the cache is damaged, it raises instead of compiling.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import caching
from numba.core.caching import FunctionCache

_LOG = logging.getLogger(__name__)
_ENVS = Path(__file__).resolve().parent.parent
_DAMAGED = (OSError, EOFError, caching.pickle.UnpicklingError, AttributeError, ImportError,
            IndexError, KeyError, TypeError, ValueError)  # fmt: skip
"""What reading a file that is no longer a pickle may raise."""


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function as ``numba.njit(**options)`` does, and keeps it.

    What was kept is used only while every source file of the function's family is as it was. Where
    the cache cannot be read or written the function is compiled again and the log says why.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = njit(**options)(function)
        try:
            compiled._cache = _Cache(function)
        except RuntimeError as error:  # no folder to write to
            _LOG.warning("%s: compiled anew in every process: %s", function.__qualname__, error)
        return compiled

    return decorate


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, with the sources of its family in the index's stamp."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        file = self._cache_file
        file._source_stamp = (file._source_stamp, checksum(_family(function.__code__.co_filename)))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was kept for a signature, or None."""
        try:
            return super().load_overload(sig, target_context)
        except _DAMAGED as error:
            _LOG.warning("%s: compiled anew, the cache is damaged: %r", self._name, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if the folder can still be written."""
        try:
            super().save_overload(sig, data)
        except _DAMAGED as error:
            _LOG.warning("%s: not kept in the cache: %r", self._name, error)


def _family(file: str) -> Path:
    """Return the outermost package around a file, below ``envs``."""
    folder = Path(file).resolve().parent
    while folder.parent != _ENVS and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return folder


@functools.cache
def checksum(folder: Path) -> str:
    """Return a checksum of the Python files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
