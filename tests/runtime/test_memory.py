"""Freed memory stays with the process: the same allocation again faults no page in."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
import torch
from rlcore.runtime.memory import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def touch():
    blocks = [torch.ones(1 << 20) for _ in range(4)]  # 4 MB each
    return sum(float(block[0]) for block in blocks)

for _ in range(3):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_page_faults_of_repeated_allocations() -> None:
    faults = {}
    for mode in ("keep", "default"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, mode], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        faults[mode] = int(done.stdout)
    # 20 times 16 MB are 81,920 pages of 4 KB, unless large pages are in use.
    assert faults["keep"] < 200
    assert faults["default"] > 5 * faults["keep"]
