"""Child processes of a run: started as if fresh, watched by exit status, ended without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlcore.runtime.forked import Forked, ForkServerError, get_server, let_go

Message = dict[str, Any]


class ChildProcess:
    """One running child, the leader of a process group of its own.

    A child that dies before it has read what it is to do counts as any other that was lost:
    ``poll`` gives its exit status.

    Args:
        name: For messages and the log file, for example ``actor-00``.
        entry: ``module:function`` to call as ``function(args, messages)``.
        args: JSON-able arguments.
        fds: Descriptors the child inherits, under the same numbers.
        log: File that receives the child's output.
        threads: Intra-op threads; set before the child imports anything heavy.

    Attributes:
        ended: No further message can come: the child has closed its end of the pipe.

    Raises:
        OSError: The process cannot be started.
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
        self.ended = False
        self._partial = b""
        boot: Message = {
            "name": name,
            "path": sys.path,
            "entry": entry,
            "args": args,
        }
        boot_read, boot_write = os.pipe()
        self._read, message_write = os.pipe()
        os.set_blocking(self._read, False)
        try:
            self.process = _start((boot_read, message_write), fds, log, threads)
        except BaseException:
            self.close()
            os.close(boot_write)
            raise
        finally:
            os.close(boot_read)
            os.close(message_write)
        if isinstance(self.process, Forked):
            boot |= {"parent": self.process.parent, "long_lived": True}
        else:
            main_thread = threading.current_thread() is threading.main_thread()
            boot |= {"parent": os.getpid(), "long_lived": main_thread}
        _write_all(boot_write, json.dumps(boot).encode())
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
        """Return the exit status, or ``None`` while the child runs.

        What a child that has ended left running in its group (environments that are processes of
        their own) is killed with it.
        """
        if self.process.returncode is None and _has_ended(self.process):
            # Before the child is waited for: until then nobody else can get its number.
            self._signal_group(signal.SIGKILL)
        return self.process.poll()

    def receive(self) -> list[Message]:
        """Return the messages that have arrived since the last call."""
        while True:
            try:
                chunk = os.read(self._read, 1 << 16)
            except BlockingIOError:
                break
            if not chunk:
                self.ended = True
                break
            self._partial += chunk
        *lines, self._partial = self._partial.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def dump_stack(self) -> None:
        """Ask the child to write the stacks of all its threads to its log."""
        if hasattr(signal, "SIGUSR1") and self.poll() is None:
            self.process.send_signal(signal.SIGUSR1)

    def terminate(self) -> None:
        """Ask the child and its whole process group to end (SIGTERM); does not wait."""
        if self.poll() is None:
            self._signal_group(signal.SIGTERM)

    def end(self, grace_s: float = 2.0) -> int:
        """SIGTERM to its process group, SIGKILL after ``grace_s``; return the exit status."""
        self.terminate()
        deadline = time.monotonic() + grace_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.poll() is None:
            self._signal_group(signal.SIGKILL)
        return self.process.wait()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

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


def wait_for_messages(children: Iterable[ChildProcess], timeout: float) -> None:
    """Sleep until one of ``children`` has sent something or ``timeout`` seconds have passed.

    Those that can send nothing more are left out: their pipes would be readable for ever.
    """
    poll = select.poll()
    for child in children:
        if not child.ended:
            poll.register(child.read_fd, select.POLLIN)
    poll.poll(timeout * 1000.0)


def _start(
    pipes: tuple[int, int], fds: Iterable[int], log: Path, threads: int
) -> subprocess.Popen[bytes] | Forked:
    count, fds = str(threads), tuple(fds)
    env = os.environ | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    with log.open("ab") as output:
        while (server := get_server()) is not None:
            try:
                return server.fork(pipes, fds, output.fileno(), threads, env)
            except ForkServerError as error:
                let_go(server)
                output.write(f"{error}\n".encode())
                output.flush()
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "rlcore.runtime.child", *map(str, pipes)],
            pass_fds=(*fds, *pipes),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _write_all(fd: int, data: bytes) -> None:
    """Write and close; a reader that is gone is noticed elsewhere."""
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass
    finally:
        os.close(fd)


def _has_ended(process: subprocess.Popen[bytes] | Forked) -> bool:
    """Return whether a child has ended, leaving it to be waited for."""
    if isinstance(process, Forked):
        return process.ended()
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
