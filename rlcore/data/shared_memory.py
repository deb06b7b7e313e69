"""Anonymous shared memory and wake-ups, handed to child processes as file descriptors.

Nothing here has a name in ``/dev/shm``: a block lives exactly as long as some process maps it,
so that no crash, not even ``SIGKILL`` of every process, can leak a segment.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

SPIN_SECONDS = 20e-6
ALIGNMENT = 64


def align(size: int, to: int = ALIGNMENT) -> int:
    """Round ``size`` up to a multiple of ``to`` bytes."""
    return -(-size // to) * to


class SharedBlock:
    """A zero-filled block of memory that child processes can map.

    Args:
        size: Bytes to allocate; pages are only taken when they are touched.
        fd: Map this descriptor (inherited from the parent) instead of making a new block.
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        if size <= 0:
            raise ValueError(f"a shared block needs a size > 0, got {size}")
        self.size = size
        self.fd = _anonymous_file(size) if fd is None else fd
        self._map = mmap.mmap(self.fd, size)

    def array(self, shape: tuple[int, ...], dtype: str, offset: int = 0) -> NDArray[np.generic]:
        """Return a writable view of ``shape`` and ``dtype`` starting ``offset`` bytes in."""
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the block against every other process that also asks for its lock."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor; the mapping goes when the last view is collected."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("rlcore", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Wakeup:
    """A one-way wake-up between processes: spins about 20 us, then blocks in the kernel.

    Signals are counted, never lost: a signal sent before the wait ends the wait at once.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        if fds is None:
            if hasattr(os, "eventfd"):
                fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                fds = (fd, fd)
            else:
                fds = os.pipe()
                os.set_blocking(fds[0], False)
                os.set_blocking(fds[1], False)
        self.fds = fds
        self._poll = select.poll()
        self._poll.register(fds[0], select.POLLIN)

    def signal(self) -> None:
        """Wake the waiter; never blocks."""
        try:
            os.write(self.fds[1], b"\x01\x00\x00\x00\x00\x00\x00\x00")
        except BlockingIOError:
            pass  # full: the waiter has plenty of signals to read already

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``ready()`` or ``timeout`` seconds; return whether it became ready."""
        deadline = time.monotonic() + timeout
        spin_end = time.perf_counter() + SPIN_SECONDS
        while not ready():
            if time.perf_counter() < spin_end:
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return ready()
            if self._poll.poll(left * 1000.0):
                try:
                    os.read(self.fds[0], 8)
                except BlockingIOError:
                    pass
        return True

    def close(self) -> None:
        """Close the descriptors."""
        for fd in set(self.fds):
            os.close(fd)
