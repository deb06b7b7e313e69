"""Entries of child processes for tests of :mod:`rlcore.runtime.process`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
