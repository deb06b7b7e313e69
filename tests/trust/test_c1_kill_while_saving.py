"""Promise C1: whenever a writer is killed, no checkpoint it acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlcore.runtime.checkpoint import Checkpointer

KILLS = 30

# Forks a writer, kills it after the time asked for, and reports the last step it acknowledged.
KILLER = """
import os, signal, sys, time
import numpy as np
from rlcore.runtime.checkpoint import Checkpointer

def write_for_ever(first, pipe):
    checkpoints = Checkpointer(sys.argv[1], keep=2, config_hash="h")
    for step in range(first, first + 1_000_000):
        tensors = {f"part-{i}": {"x": np.full(5_000, step, np.int64)} for i in range(3)}
        checkpoints.save(step, tensors, {"step": step})
        os.write(pipe, step.to_bytes(8, "little"))

for line in sys.stdin:
    first, delay = line.split()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write_for_ever(int(first), theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    time.sleep(float(delay))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    acknowledged = b""
    while chunk := os.read(ours, 1 << 16):
        acknowledged += chunk
    os.close(ours)
    assert os.WIFSIGNALED(status), status
    print(int.from_bytes(acknowledged[-8:], "little") if acknowledged else -1, flush=True)
"""


@pytest.mark.timeout(60)
def test_sigkill_at_random_moments(tmp_path: Path, repo_root: Path) -> None:
    delays = random.Random(0)
    reader = Checkpointer(tmp_path, config_hash="h")
    last, interrupted = -1, 0
    with subprocess.Popen(
        [sys.executable, "-c", KILLER, str(tmp_path)],
        cwd=repo_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for _ in range(KILLS):
            killer.stdin.write(f"{last + 1} {delays.uniform(0.002, 0.15)}\n")
            killer.stdin.flush()
            last = max(last, int(killer.stdout.readline()))
            interrupted += any(name.startswith(".tmp-") for name in os.listdir(tmp_path))
            if last < 0:
                continue
            found = reader.load()
            assert found.skipped == []
            assert found.step >= last
            assert found.state == {"step": found.step}
            assert set(found.tensors) == {"part-0", "part-1", "part-2"}
            for named in found.tensors.values():
                assert torch.equal(named["x"], torch.full((5_000,), found.step))
            last = found.step
        killer.stdin.close()
        assert killer.wait(10) == 0
    assert last >= 0
    assert interrupted >= 3, "too few kills hit a save for this test to mean anything"
    Checkpointer(tmp_path, keep=2, config_hash="h").save(last + 1, {}, {})
    left = sorted(os.listdir(tmp_path))
    assert all(name.startswith("step-") for name in left), left
    assert len(left) <= 2
