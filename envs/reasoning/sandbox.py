"""Runs untrusted Python programs in a child that can reach nothing.

Isolation ``namespaces`` (the default; Linux): the child has users, mounts, network, processes and
shared memory of its own, a file system that is read-only but for a scratch folder in memory,
Landlock rules that leave it the interpreter's files to read, a filter that refuses to start
processes and to open sockets, limits of CPU time, memory, file size and open files, no environment
variables and a wall clock limit after which the namespace dies. Where a layer is not to be had the
run is refused. What is not hidden: of a file of known name that it exists,
its size, times and attributes, and where a link points.

Isolation ``process`` sets the limits and kills the process group, no more. It has to be asked for
by name and is NOT a security boundary: the program can read files, connect to the network and leave
processes behind. Against a model that means harm neither replaces a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from envs.core.arguments import check_choice

ISOLATIONS = ("namespaces", "process")
START_S = 60.0
"""Until the child must be ready: a busy machine is no verdict on a program."""
_HERE = Path(__file__).parent
_MIB = 2**20


class SandboxUnavailable(RuntimeError):
    """This machine cannot build the sandbox; the message names the layer that is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        wall_s: Seconds from the program's start until everything is killed.
        cpu_s: Seconds of CPU time.
        memory: Bytes of address space.
        file_size: Bytes of one file, standard output included.
        scratch: Bytes of all files in the scratch folder.
        processes: Processes and threads of the user; not for root, whom the filter holds.
    """

    wall_s: float = 5.0
    cpu_s: int = 3
    memory: int = 512 * _MIB
    file_size: int = _MIB
    scratch: int = 8 * _MIB
    processes: int = 256


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How a program ended.

    Attributes:
        status: ``exit``, ``signal`` or ``timeout``.
        code: Exit status or number of the signal.
        stdout: What it wrote, as far as the file size limit goes.
        stderr: The same of its errors.
        seconds: Wall clock time from the program's start.
    """

    status: str
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float


class Sandbox:
    """Runs programs one after the other, each in a child of its own.

    Args:
        isolation: ``namespaces`` or ``process``; see the module.
        limits: What a program may use.

    Raises:
        ValueError: There is no such isolation.
    """

    def __init__(self, isolation: str = "namespaces", limits: Limits | None = None) -> None:
        self.isolation = check_choice("Sandbox", "isolation", isolation, ISOLATIONS)
        self.limits = limits or Limits()

    def run(self, files: Mapping[str, str], script: str) -> SandboxResult:
        """Run ``script``, one of ``files``, with the files in its current folder.

        Raises:
            SandboxUnavailable: A layer cannot be set up here.
        """
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(f"the sandbox needs Linux, this is {sys.platform}")
        interpreter = os.path.realpath(sys.executable)
        job = {
            "files": dict(files),
            "argv": [interpreter, "-I", "-S", "-B", script],
            "limits": asdict(self.limits),
            "isolation": self.isolation,
            "readable": _readable(interpreter),
        }
        with (
            tempfile.TemporaryDirectory(prefix="rlcore-sandbox-") as scratch,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            return self._run(job | {"scratch": scratch}, interpreter, out, err)

    def _run(
        self, job: dict[str, Any], interpreter: str, out: IO[bytes], err: IO[bytes]
    ) -> SandboxResult:
        reading, writing = os.pipe()
        try:
            try:
                child = subprocess.Popen(
                    [interpreter, "-I", "-S", "-B", str(_HERE / "sandbox_child.py")],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    env={"PATH": "/usr/bin"},
                    cwd=job["scratch"],
                    start_new_session=True,
                    pass_fds=(writing,),
                )
            finally:
                os.close(writing)
            with _killed_in_the_end(child):
                ready = _ready(child, reading, job | {"ready": writing})
                began = time.monotonic()
                timeout = ready and not _finished(child, self.limits.wall_s)
        finally:
            os.close(reading)
        stdout, stderr = (_content(file, self.limits.file_size) for file in (out, err))
        if not ready:
            reason = stderr.decode(errors="replace").strip() or f"status {child.returncode}"
            raise SandboxUnavailable(f"the sandbox cannot be built here: {reason}")
        seconds = time.monotonic() - began
        if timeout:
            return SandboxResult("timeout", signal.SIGKILL, stdout, stderr, seconds)
        code = child.returncode
        if code < 0 or code > 128:
            return SandboxResult(
                "signal", -code if code < 0 else code - 128, stdout, stderr, seconds
            )
        return SandboxResult("exit", code, stdout, stderr, seconds)

    def call(
        self, source: str, entry: str, calls: Sequence[Sequence[Any]]
    ) -> tuple[list[Any], SandboxResult]:
        """Call a function of an untrusted module.

        Args:
            source: The module.
            entry: Name of the function.
            calls: JSON-able arguments of each call.

        Returns:
            For each call ``{"value": ...}`` or ``{"error": name}``, fewer where it stopped early or
            wrote anything else, and how the program ended. All of it is what the program claims.
        """
        files = {
            "solution.py": source,
            "calls.json": json.dumps({"entry": entry, "calls": [list(c) for c in calls]}),
            "driver.py": (_HERE / "sandbox_driver.py").read_text(encoding="utf-8"),
        }
        result = self.run(files, "driver.py")
        return _claims(result.stdout, len(calls)), result


def _readable(interpreter: str) -> list[str]:
    """Return what the interpreter needs to read: itself, its library and the system's."""
    own = Path(sys.base_prefix)
    library = own if own != Path("/") else own / "usr"
    system = ["/usr/lib", "/usr/lib64", "/usr/bin", "/lib", "/lib64", "/etc/ld.so.cache"]
    return [*system, interpreter, *(str(library / part) for part in ("bin", "lib", "lib64"))]


@contextlib.contextmanager
def _killed_in_the_end(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the child and its group on the way out, whatever happened."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _ready(child: subprocess.Popen[bytes], reading: int, job: dict[str, Any]) -> bool:
    """Hand the child its job; return whether it built the sandbox."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(json.dumps(job).encode())
    answered, _, _ = select.select([reading], [], [], START_S)
    return bool(answered) and os.read(reading, 1) == b"r"


def _finished(child: subprocess.Popen[bytes], wall_s: float) -> bool:
    """Return whether the child ends within ``wall_s``."""
    try:
        child.wait(wall_s)
        return True
    except subprocess.TimeoutExpired:
        return False


def _content(file: IO[bytes], most: int) -> bytes:
    file.seek(0)
    return file.read(most)


def _claims(stdout: bytes, n: int) -> list[Any]:
    claims: list[Any] = []
    for line in stdout.split(b"\n")[:n]:
        try:
            claim = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(claim, dict):
            break
        claims.append(claim)
    return claims
