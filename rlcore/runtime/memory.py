"""How the processes of a run use the C library's allocator."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
_TRIM_THRESHOLD = (1 << 31) - 1
_TOP_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory of this process instead of handing it back to the kernel.

    A training step allocates and frees the same few megabytes of activations over and over. By
    default glibc returns such blocks at once, and each page is then faulted in and zeroed again at
    the next step: a third of the time of a small network's update. The price is that the process
    stays as large as its largest step.

    Returns:
        Whether it was done; it is not where the C library is another one.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_M_TRIM_THRESHOLD, _TRIM_THRESHOLD),
        (_M_TOP_PAD, _TOP_PAD),
    )
    return all(mallopt(name, value) == 1 for name, value in settings)
