"""The process that children are forked from: ``python -m rlcore.runtime.fork_server``.

Importing torch takes most children longer than anything else they do before they work. This process
imports it once, runs no thread and touches no device, and forks itself for each child: it is there
in milliseconds, with the environment, folder, limits and descriptors that it would have had as a
fresh interpreter, and with fresh random generators. :mod:`rlcore.runtime.forked` is the other end.

Messages are JSON behind a header of two 32-bit numbers, the chunks of descriptors and the bytes of
JSON. The server answers each request; what it forked stays a zombie until it is told to reap it, so
that a process number is never another's while somebody may still send it a signal.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

PRELOAD = ("torch", "gymnasium", "rlcore.runtime.roles", "rlcore.runtime.hogwild")
"""What is imported once for all; a user's own modules are not: they may change between runs."""

HEADER = struct.Struct("=II")
FDS_PER_CHUNK = 200
LIMITS = tuple(sorted(name for name in dir(resource) if name.startswith("RLIMIT_")))

Message = dict[str, Any]


def send(connection: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send a message with descriptors.

    Raises:
        OSError: The other end is gone.
    """
    text = json.dumps(message).encode()
    chunks = [fds[i : i + FDS_PER_CHUNK] for i in range(0, len(fds), FDS_PER_CHUNK)]
    connection.sendall(HEADER.pack(len(chunks), len(text)))
    for chunk in chunks:
        socket.send_fds(connection, [b"."], list(chunk))
    connection.sendall(text)


def receive(connection: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors.

    Raises:
        EOFError: The other end is gone.
        OSError: It is gone, or late where the connection has a time-out.
    """
    chunks, size = HEADER.unpack(_exactly(connection, HEADER.size))
    fds: list[int] = []
    for _ in range(chunks):
        byte, received, _, _ = socket.recv_fds(connection, 1, FDS_PER_CHUNK)
        if not byte:
            raise EOFError
        fds += received
    message: Message = json.loads(_exactly(connection, size))
    return message, fds


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size > 0:
        part = connection.recv(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main(argv: list[str]) -> int:
    """Serve until the other end is gone; in a child, run what was asked for.

    Args:
        argv: Descriptor of the connection, process id of the parent, and ``main-thread`` or
            ``connection``: what this process ends with, besides the connection.
    """
    from rlcore.runtime import child

    connection = socket.socket(fileno=int(argv[0]))
    parent, watched = int(argv[1]), argv[2] == "main-thread"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if watched:  # else the end of the connection tells that the parent has ended
        child.die_with_parent(parent, long_lived=True)
    for name in PRELOAD:
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        send(connection, {"error": f"{threads} threads run after the imports"})
        return 1
    gc.collect()
    gc.freeze()  # or every collection in a child would copy the pages of all modules
    send(connection, {"ready": True})
    try:
        request = serve(connection)
    except (EOFError, OSError):
        return 0
    leave(child.main([str(fd) for fd in request["pipes"]]))


def leave(status: int) -> NoReturn:
    """End a child as an interpreter does, but for taking thousands of modules apart."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(connection: socket.socket) -> Message:
    """Answer requests; return only in a child, with the request that it was forked for.

    Raises:
        EOFError: The other end is gone.
    """
    while True:
        request, fds = receive(connection)
        if request["do"] == "reap":
            _, status = os.waitpid(request["pid"], 0)
            send(connection, {"status": os.waitstatus_to_exitcode(status)})
            continue
        try:
            pid = os.fork()
        except OSError as error:
            send(connection, {"errno": error.errno, "error": str(error)})
            pid = -1
        if pid == 0:
            connection.close()
            become(request, fds)
            return request
        for fd in fds:
            os.close(fd)
        if pid > 0:
            send(connection, {"pid": pid})


def become(request: Message, fds: list[int]) -> None:
    """Turn the forked process into what a fresh interpreter would be.

    Args:
        request: ``numbers`` of the descriptors, ``environment``, ``folder``, ``cores``, ``limits``,
            ``threads``.
        fds: As received; the first is the log.
    """
    os.setsid()
    numbers: list[int] = request["numbers"]
    free = max([*numbers, *fds, 2]) + 1
    # First out of the way of all numbers to be given, then to their places.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, free) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd in (1, 2):
        os.dup2(high[0], fd)
    os.close(high[0])
    for number, fd in zip(numbers, high[1:], strict=True):
        os.dup2(fd, number)
        os.close(fd)
    before, after = (e.get("PYTHONPATH", "") for e in (os.environ, request["environment"]))
    own = [p for p in sys.path[1:] if p not in before.split(os.pathsep)]
    sys.path[:] = [request["folder"], *dict.fromkeys([*after.split(os.pathsep), *own])]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.sched_setaffinity(0, request["cores"])
    for name, (soft, hard) in request["limits"].items():
        with contextlib.suppress(OSError, ValueError):  # above what this process may have
            resource.setrlimit(getattr(resource, name), (soft, hard))
    signal.signal(signal.SIGINT, signal.default_int_handler)

    import numpy as np
    import torch

    np.random.seed()  # noqa: NPY002 - the generator that environments of others may use
    torch.set_num_threads(request["threads"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
