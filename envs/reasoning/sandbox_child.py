"""What the sandbox's child does before it becomes the untrusted program. Run as a script.

Standard library only; nothing of this package is imported. The order: new namespaces, a file system
of its own for scratch files, a process that reaps, limits, Landlock, a filter of system calls,
``exec``.
The byte ``r`` on the status pipe tells the parent that all of it is in place.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys

NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_THREAD = 0x10000
SET_PDEATHSIG, CAPBSET_DROP, SET_NO_NEW_PRIVS, SET_SECCOMP = 1, 24, 38, 22
NOSUID, NODEV, PRIVATE = 2, 4, 0x44000
HERE, RECURSIVE, READ_ONLY = -100, 0x8000, 1

# Landlock access rights: bits 0-12 since its first version, then refer, truncate and ioctl.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
EVERYTHING = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
READ = EXECUTE | READ_FILE | READ_DIR

# Architecture tag, clone, clone3, and calls that a program of numbers and text has no use for: new
# processes, tracing, mounts, kernel keys, modules and BPF, io_uring, other processes' memory, new
# namespaces, handles, anonymous files; sockets, as one can be reached by its name in the file
# system, which neither Landlock nor a network of its own prevents; and shared memory, semaphores
# and message queues, which outlive their mapping and so are no address space that a limit counts;
# and watches on files, which tell the names of new ones in folders that cannot be read.
CALLS = {
    "x86_64": (0xC000003E, 56, 435, (57, 58, 101, 135, 155, 161, 163, 165, 166, 167, 169, 175, 176,
               179, 246, 248, 249, 250, 272, 298, 303, 304, 308, 310, 311, 313, 319, 320, 321, 323,
               425, 426, 427, 428, 429, 430, 431, 432, 29, 30, 31, 41, 53, 64, 68, 240, 447, 253,
               254, 294)),
    "aarch64": (0xC00000B7, 220, 435, (117, 92, 41, 51, 89, 40, 39, 224, 142, 105, 106, 60, 104,
                217, 218, 219, 97, 241, 264, 265, 268, 270, 271, 273, 279, 294, 280, 282, 425, 426,
                427, 428, 429, 430, 431, 432, 180, 186, 190, 194, 195, 196, 198, 199, 447, 26, 27)),
}  # fmt: skip

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """A layer of the sandbox cannot be set up on this machine."""


def call(what: str, result: int) -> int:
    """Return the result of a C call, or refuse with the system's reason."""
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def new_namespaces() -> None:
    """Leave the parent's users, mounts, network, processes and shared memory."""
    uid, gid = os.geteuid(), os.getegid()
    flags = NEWUSER | NEWNS | NEWNET | NEWPID | NEWIPC
    call("namespaces", libc.unshare(flags))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def own_scratch(scratch: str, size: int) -> None:
    """Make all files read-only, and put a small file system in memory over the scratch folder.

    Landlock leaves modes, owners, times and attributes of files alone; a read-only mount does not.
    Only this process and what comes of it see either.
    """
    call("mounts", libc.mount(b"none", b"/", None, PRIVATE, None))
    attributes = struct.pack("QQQQ", READ_ONLY, 0, 0, 0)
    call("read-only mounts", libc.syscall(442, HERE, b"/", RECURSIVE, attributes, len(attributes)))
    options = f"size={size},nr_inodes=256,mode=700".encode()
    call("scratch", libc.mount(b"tmpfs", scratch.encode(), b"tmpfs", NOSUID | NODEV, options))


def become_child_of_init() -> None:
    """Return in the second process of the new namespace; its first one reaps and reports.

    When the first one ends, the kernel kills whatever is left in the namespace.
    """
    inner = os.fork()
    if inner:
        report(inner)
    libc.prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    program = os.fork()
    if program:
        os.closerange(3, 64)
        report(program)


def report(child: int) -> None:
    """Wait for a child and end as it ended; 128 and the signal's number if one killed it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def limit(limits: dict[str, int]) -> None:
    """Set the limits that hold whatever else is available."""
    for name, soft, hard in (
        (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1),
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["file_size"], limits["file_size"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_NPROC, limits["processes"], limits["processes"]),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(name, (soft, hard))


def drop_capabilities() -> None:
    """Give up what root may do in the new namespaces, also across ``exec``."""
    for capability in range(64):
        if libc.prctl(CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    call("no new privileges", libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def landlock(scratch: str, readable: list[str]) -> None:
    """Forbid all files but the interpreter's, to be read, and the scratch folder's."""
    version = call("Landlock", libc.syscall(444, None, 0, 1))
    everything = EVERYTHING[min(version, 5)]
    rules = struct.pack("QQ", everything, 3 if version >= 4 else 0)
    size = 16 if version >= 4 else 8
    fence = call("Landlock rules", libc.syscall(444, rules, size, 0))
    allowed = [(path, READ) for path in readable]
    allowed += [("/dev/null", READ_FILE | WRITE_FILE), ("/dev/urandom", READ_FILE)]
    allowed += [(scratch, everything & ~EXECUTE)]
    for path, access in allowed:
        if not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            access &= READ_FILE | WRITE_FILE | EXECUTE
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("<Qi", access, place)
        call(f"Landlock rule for {path}", libc.syscall(445, fence, 1, rule, 0))
        os.close(place)
    call("Landlock fence", libc.syscall(446, fence, 0))
    os.close(fence)


def filter_calls() -> None:
    """Have the kernel refuse dangerous system calls, and all that start a process.

    A thread may be started: it is a ``clone`` with CLONE_THREAD. ``clone3`` hides its flags from
    filters and is answered as if the kernel had none, so that libraries fall back on ``clone``.
    """
    machine = os.uname().machine
    if machine not in CALLS:
        raise Refused(f"no system call filter for {machine}")
    tag, clone, clone3, forbidden = CALLS[machine]
    load, equal, above, bits, answer = 0x20, 0x15, 0x35, 0x54, 0x06
    deny, allow, absent, kill = 0x50000 | 1, 0x7FFF0000, 0x50000 | 38, 0x80000000
    code = [(load, 0, 0, 4), (equal, 1, 0, tag), (answer, 0, 0, kill), (load, 0, 0, 0)]
    code += [(above, 0, 1, 0x40000000), (answer, 0, 0, deny)]
    for number in forbidden:
        code += [(equal, 0, 1, number), (answer, 0, 0, deny)]
    code += [(equal, 0, 1, clone3), (answer, 0, 0, absent)]
    code += [(equal, 0, 4, clone), (load, 0, 0, 16), (bits, 0, 0, CLONE_THREAD)]
    code += [(equal, 0, 1, 0), (answer, 0, 0, deny), (answer, 0, 0, allow)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(packed))
    call("system call filter", libc.prctl(SET_SECCOMP, 2, program, 0, 0))


def main() -> None:
    """Read a job from standard input, shut the doors, become the program."""
    job = json.load(sys.stdin)
    scratch, ready = job["scratch"], job["ready"]
    fenced = job["isolation"] == "namespaces"
    if fenced:
        new_namespaces()
        own_scratch(scratch, job["limits"]["scratch"])
        become_child_of_init()
    os.chdir(scratch)
    for name, text in job["files"].items():
        with open(name, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(text)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.set_inheritable(ready, False)
    limit(job["limits"])
    if fenced:
        drop_capabilities()
        landlock(scratch, job["readable"])
        filter_calls()
    os.write(ready, b"r")
    environment = {"PATH": "/usr/bin", "LC_CTYPE": "C.UTF-8"}
    os.execve(job["argv"][0], job["argv"], environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    try:
        main()
    except (Refused, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(125)
