"""Children forked from a server that has imported everything; see ``fork_server``.

There is one server a process, started by :func:`prepare` or with the first child, and ended with
the process. Where it cannot be had (another system than Linux, ``RLCORE_FORK_SERVER=0``, a server
that does not start), children are fresh interpreters.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rlcore.runtime.fork_server import LIMITS, Message, receive, send

ANSWER_S = 60.0
"""Longest wait for an answer, the server's imports included."""

_lock = threading.RLock()
_server: ForkServer | None = None
_given_up: tuple[object, ...] | None = None


class ForkServerError(Exception):
    """The server is gone or does not answer."""


class Forked:
    """A child of the server, used as ``subprocess.Popen`` is.

    Attributes:
        pid: Process id.
        parent: The server's.
        returncode: As of ``Popen``; ``None`` until :meth:`poll` or :meth:`wait` has seen the end.
    """

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.parent = server.pid
        self.returncode: int | None = None
        self._server = server
        self._handle = os.pidfd_open(pid)

    def ended(self, timeout: float | None = 0.0) -> bool:
        """Return whether it has ended, after at most ``timeout`` seconds; ``None``: no limit."""
        if self.returncode is not None:
            return True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000.0))

    def poll(self) -> int | None:
        """Return the exit status, or ``None`` while it runs."""
        if self.returncode is None and self.ended():
            self.returncode = self._server.reap(self.pid)
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        if not self.ended(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(OSError, AttributeError):
                os.close(self._handle)


class ForkServer:
    """A running server.

    Attributes:
        world: What it was started with and cannot change.
        served: It has come up.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        self.world = _world()
        self._socket, theirs = socket.socketpair()
        self.served = False
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        main_thread = threading.current_thread() is threading.main_thread()
        watch = "main-thread" if main_thread else "connection"
        command = [sys.executable, "-u", "-m", "rlcore.runtime.fork_server"]
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid()), watch],
                pass_fds=[theirs.fileno()],
                env=os.environ | one | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._socket.settimeout(ANSWER_S)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def fork(
        self,
        pipes: tuple[int, int],
        fds: Sequence[int],
        log: int,
        threads: int,
        environment: dict[str, str],
    ) -> Forked:
        """Return a child that runs ``rlcore.runtime.child`` with ``pipes``.

        Args:
            pipes: Its boot and message descriptors.
            fds: Further descriptors that it gets under the same numbers.
            log: Where its output goes.
            threads: Intra-op threads of torch.
            environment: Its environment variables.

        Raises:
            ForkServerError: The server is gone.
            OSError: The system has no room for another process.
        """
        numbers = [*pipes, *fds]
        request = {
            "do": "fork",
            "pipes": pipes,
            "numbers": numbers,
            "environment": environment,
            "folder": os.getcwd(),
            "cores": sorted(os.sched_getaffinity(0)),
            "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
            "threads": threads,
        }
        answer = self._ask(request, [log, *numbers])
        if "pid" not in answer:
            raise OSError(answer["errno"], answer["error"])
        return Forked(self, answer["pid"])

    def reap(self, pid: int) -> int:
        """Return the exit status of a child that has ended; without a server it was killed."""
        try:
            status: int = self._ask({"do": "reap", "pid": pid})["status"]
        except ForkServerError:
            return -signal.SIGKILL
        return status

    def _ask(self, request: Message, fds: Sequence[int] = ()) -> Message:
        with _lock:
            try:
                if not self.served:
                    hello, _ = receive(self._socket)
                    if "ready" not in hello:
                        raise ForkServerError(hello["error"])
                    self.served = True
                send(self._socket, request, fds)
                return receive(self._socket)[0]
            except (EOFError, OSError) as error:
                raise ForkServerError(f"the fork server is gone: {error!r}") from error

    def close(self) -> None:
        """End the server, and with it every child that still runs."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def prepare() -> None:
    """Start the server now, so that its imports go on beside what this process does next."""
    get_server()


def get_server() -> ForkServer | None:
    """Return this process's server, started if there is none; ``None`` where it cannot be had."""
    global _server
    with _lock:
        world = _world()
        if _server is not None and _server.world != world:
            close()
        if not _wanted():
            return None
        if _server is None and _given_up != world:
            with contextlib.suppress(OSError):
                _server = ForkServer()
        return _server


def let_go(server: ForkServer) -> None:
    """Ask a server that is gone for nothing more; one that never served gets no successor.

    It is not ended: where it is only late, its children live on.
    """
    global _given_up, _server
    with _lock:
        if not server.served:
            _given_up = server.world
        if server is _server:
            _server = None


def close() -> None:
    """End the server of this process, if there is one."""
    global _server
    with _lock:
        server, _server = _server, None
        if server is not None and server.world[0] == os.getpid():
            server.close()


def _wanted() -> bool:
    return os.environ.get("RLCORE_FORK_SERVER", "1") != "0" and _can_be_watched()


@cache
def _can_be_watched() -> bool:
    """Return whether this system can wait for a process that is no child of the one that waits."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an older kernel, or a sandbox
        return False
    return True


def _world() -> tuple[object, ...]:
    """Return what a server shares with its children and cannot change for one of them."""
    mask = ""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        mask = status.partition("Umask:")[2].partition("\n")[0].strip()
    return (os.getpid(), sys.executable, os.geteuid(), os.getegid(), mask)


atexit.register(close)
