"""Child processes of a run: started fresh, watched by exit status, ended without leaving a trace."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Message = dict[str, Any]


class ChildProcess:
    """One running child.

    Args:
        name: For messages and the log file, for example ``actor-00``.
        entry: ``module:function`` to call as ``function(args, messages)``.
        args: JSON-able arguments.
        fds: Descriptors the child inherits, under the same numbers.
        log: File that receives the child's output.
        threads: Intra-op threads; set before the child imports anything heavy.
    """

    def __init__(
        self,
        name: str,
        entry: str,
        args: dict[str, Any],
        fds: Iterable[int],
        log: Path,
        threads: int,
    ) -> None:
        self.name = name
        self.log = log
        self.messages: list[Message] = []
        self._partial = b""
        boot_read, boot_write = os.pipe()
        self._read, message_write = os.pipe()
        os.set_blocking(self._read, False)
        command = [sys.executable, "-u", "-m", "rlcore.runtime.child", str(boot_read), str(message_write)]
        count = str(threads)
        env = os.environ | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                pass_fds=(*fds, boot_read, message_write),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        os.close(boot_read)
        os.close(message_write)
        boot = {"parent": os.getpid(), "path": sys.path, "entry": entry, "args": args}
        with os.fdopen(boot_write, "w") as file:
            json.dump(boot, file)
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def read_fd(self) -> int:
        """Descriptor that becomes readable when the child sends a message or ends."""
        return self._read

    def poll(self) -> int | None:
        """Return the exit status, or ``None`` while the child runs."""
        return self.process.poll()

    def receive(self) -> list[Message]:
        """Return the messages that have arrived since the last call."""
        while True:
            try:
                chunk = os.read(self._read, 1 << 16)
            except BlockingIOError:
                break
            if not chunk:
                break
            self._partial += chunk
        *lines, self._partial = self._partial.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def dump_stack(self) -> None:
        """Ask the child to write the stacks of all its threads to its log."""
        if hasattr(signal, "SIGUSR1") and self.poll() is None:
            self.process.send_signal(signal.SIGUSR1)

    def end(self, grace_s: float = 2.0) -> int:
        """SIGTERM, then SIGKILL after ``grace_s``; return the exit status."""
        if self.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def close(self) -> None:
        """Close the message pipe; the child must have ended."""
        if self._read >= 0:
            os.close(self._read)
            self._read = -1


def describe_exit(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def wait_readable(fds: list[int], timeout: float) -> None:
    """Sleep until one of ``fds`` is readable or ``timeout`` seconds have passed."""
    if fds:
        select.select(fds, [], [], timeout)
    else:
        time.sleep(timeout)
