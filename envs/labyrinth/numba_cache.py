"""Guard of numba's cache on disk: compiled kernels must hold the constants of today.

Numba compiles a kernel anew when its own file has changed, not when a constant imported from
another one has. Each file of kernels therefore compiles a stamp of the constants too, and compares
it with theirs.
"""

from __future__ import annotations

import zlib
from types import ModuleType


def stamp(*modules: ModuleType) -> int:
    """Return a checksum of the named whole numbers, tuples and dicts of ``modules``."""
    found = [
        (module.__name__, name, value)
        for module in modules
        for name, value in sorted(vars(module).items())
        if name.lstrip("_").isupper() and isinstance(value, (int, tuple, dict))
    ]
    return zlib.crc32(repr(found).encode())


def check_stamp(compiled: int, wanted: int, kernels: ModuleType | str) -> None:
    """Refuse kernels that were compiled with other constants.

    Raises:
        RuntimeError: They were; the message says what to delete.
    """
    if compiled != wanted:
        raise RuntimeError(
            f"{kernels}: numba's cache holds kernels of other constants: delete its *.nbi and "
            f"*.nbc files (in __pycache__ beside it, or in NUMBA_CACHE_DIR)"
        )
