"""Start of every child process: ``python -m rlcore.runtime.child BOOT_FD MESSAGE_FD``.

The boot message is JSON: which function to call and with what. Children are forked from a process
without threads (:mod:`rlcore.runtime.fork_server`) or are fresh interpreters; nothing is forked
from a process in which torch works. They die with their parent, and they do not import the user's
main script, so that notebooks and plain scripts work without a ``__main__`` guard.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

from rlcore.errors import RlcoreError
from rlcore.redact import Redactor, redact_output
from rlcore.runtime.memory import keep_freed_memory

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
PARENT_CHECK_S = 0.2


class Messages:
    """A one-way pipe of JSON lines to the parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message; a parent that is gone ends this process."""
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BrokenPipeError:
                    os._exit(1)


def die_with_parent(parent: int, long_lived: bool) -> None:
    """See to it that this process ends when its parent does; exit now if it already has.

    Args:
        parent: Process id of the parent.
        long_lived: This process was started by the parent's main thread. Linux kills a process when
            the *thread* that started it ends, so with any other thread a watch on the parent's
            number takes the kernel's place.
    """
    if sys.platform == "linux" and long_lived:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main(argv: list[str]) -> int:
    """Run the function that the boot message names; return the exit status."""
    boot_fd, message_fd = int(argv[0]), int(argv[1])
    with os.fdopen(boot_fd) as file:
        text = file.read()
    if not text:
        return 1  # the parent died before it had said what to do
    boot = json.loads(text)
    die_with_parent(boot["parent"], boot["long_lived"])
    if (
        sys.platform == "linux"
    ):  # what top and ps call it; the command line may be the fork server's
        ctypes.CDLL(None).prctl(_PR_SET_NAME, boot["name"].encode(), 0, 0, 0)
    redact_output(Redactor.from_environment())  # the log file of this process is kept
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)
    for path in reversed(boot["path"]):
        if path not in sys.path:
            sys.path.insert(0, path)
    messages = Messages(message_fd)
    try:
        module, _, function = boot["entry"].partition(":")
        getattr(importlib.import_module(module), function)(boot["args"], messages)
    except Exception as error:
        # The one place where everything is caught: the cause travels to the supervisor.
        traceback.print_exc()
        messages.send(
            "error",
            type=type(error).__name__,
            message=str(error),
            expected=isinstance(error, RlcoreError),
            fatal=isinstance(error, RlcoreError) and error.fatal,
            traceback=traceback.format_exc(),
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
