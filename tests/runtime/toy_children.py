"""Entries of child processes for tests of :mod:`rlcore.runtime.process`."""

from __future__ import annotations

import atexit
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def leave(args: dict[str, Any], messages: Any) -> None:
    """Say hello and end."""
    messages.send("hello")


def wait(args: dict[str, Any], messages: Any) -> None:
    """Say hello and go on for ever."""
    messages.send("hello")
    time.sleep(1000)


def have_a_child(args: dict[str, Any], messages: Any) -> None:
    """Start a process of its own, name it, then wait, or die if told to."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    messages.send("hello", pid=child.pid)
    if args["die"]:
        os._exit(3)
    time.sleep(1000)


def fail(args: dict[str, Any], messages: Any) -> None:
    """Raise."""
    raise ValueError("planted")


def torch_is_there(args: dict[str, Any], messages: Any) -> None:
    """Say how long an import of torch takes."""
    started = time.process_time()
    import torch  # noqa: F401

    messages.send("hello", seconds=time.process_time() - started)


def leave_late(args: dict[str, Any], messages: Any) -> None:
    """Leave a thread that writes a file, and a function for the exit that writes more."""

    def write(text: str, after: float = 0.0) -> None:
        time.sleep(after)
        with open(args["file"], "a") as file:
            file.write(text)

    atexit.register(write, ", exit")
    threading.Thread(target=write, args=("thread", 0.3)).start()
    messages.send("hello")


def describe(args: dict[str, Any], messages: Any) -> None:
    """Tell what a process has from the one that started it."""
    import numpy as np
    import torch

    print("printed")
    if "write" in args:
        os.write(args["write"], b"x")
    messages.send(
        "hello",
        environment=dict(os.environ),
        folder=os.getcwd(),
        cores=sorted(os.sched_getaffinity(0)),
        files=resource.getrlimit(resource.RLIMIT_NOFILE),
        name=Path("/proc/self/comm").read_text(),
        leader=os.getsid(0) == os.getpid() == os.getpgrp(),
        signals=[str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        threads=torch.get_num_threads(),
        path=sys.path,
        random=[random.random(), float(np.random.rand())],
        inodes=[os.fstat(fd).st_ino for fd in args.get("inodes", ())],
    )
