"""Freed memory stays with the process: the same allocation again asks the kernel for nothing.

The allocator's own account (`mallinfo2`) is read, since some kernels, those of sandboxes among
them, count no page faults.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

MB = 1 << 20
BLOCKS, BLOCK_MB = 4, 4

MEASURE = """
import ctypes, json, sys
import torch
from rlcore.runtime.memory import keep_freed_memory

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class Account(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Account

torch.set_num_threads(1)
mode, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if mode == "keep":
    assert keep_freed_memory()
mapped_before = mallinfo2().hblkhd
blocks = [torch.ones(size // 4) for _ in range(count)]
mapped = mallinfo2().hblkhd - mapped_before
del blocks
print(json.dumps({"mapped": mapped, "kept": mallinfo2().fordblks}))
"""


def measure(mode: str) -> dict[str, int]:
    command = [sys.executable, "-c", MEASURE, mode, str(BLOCKS), str(BLOCK_MB * MB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="needs mallinfo2 of glibc 2.33 or newer",
)
def test_freed_blocks_stay_in_the_heap() -> None:
    keep, default = measure("keep"), measure("default")
    total = BLOCKS * BLOCK_MB * MB
    # By default each block is a mapping of its own at first, and gone when it is freed.
    assert default["mapped"] >= total
    assert default["kept"] < total
    # Kept, no block is a mapping, and all of them wait in the heap.
    assert keep["mapped"] == 0
    assert keep["kept"] >= total


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlcore.runtime import memory

    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert memory.keep_freed_memory() is False
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert memory.keep_freed_memory() is False
