"""The program that calls an untrusted function. Run as a script, inside the sandbox.

It knows inputs only. What it writes is a claim of the untrusted code: the verdict is the parent's.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Call ``entry`` of ``solution.py`` on every list of arguments; write one JSON line each."""
    channel = os.dup(1)
    os.dup2(2, 1)
    with open("calls.json", encoding="utf-8") as file:
        job = json.load(file)
    sys.path.insert(0, os.getcwd())  # isolated mode leaves the current folder out
    function = getattr(importlib.import_module("solution"), job["entry"])
    for arguments in job["calls"]:
        try:
            line = json.dumps({"value": function(*arguments)})
        except Exception as error:
            line = json.dumps({"error": type(error).__name__})
        os.write(channel, line.encode() + b"\n")
    os._exit(0)  # threads that it left behind would keep the interpreter alive


if __name__ == "__main__":
    main()
