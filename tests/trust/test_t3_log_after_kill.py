"""``metrics.jsonl`` is readable after a SIGKILL at any moment, and a new writer goes on from it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlcore.tracking.jsonl import read_jsonl

ROUNDS = 8

WRITER = """
import sys
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.jsonl import read_jsonl

path = sys.argv[1]
sink = JsonlSink(path)
done = read_jsonl(path + "/metrics.jsonl")
start = int(done[-1]["step/env"]) + 1 if done else 0
padding = {f"loss/m{i}": 0.1 * i for i in range(200)}
for step in range(start, start + 1_000_000):
    sink.log({"step/env": step, "step/update": step, **padding})
    if step % 50 == 0:
        sys.stdout.write(f"{step}\\n")
        sys.stdout.flush()
"""


@pytest.mark.timeout(60)
def test_kill_loop(tmp_path: Path, repo_root: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "metrics.jsonl"
    known = -1
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            cwd=repo_root,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.05))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=10)
        lines = [line for line in rest.split("\n")[:-1] if line]
        acknowledged = int(lines[-1]) if lines else acknowledged
        steps = [record["step/env"] for record in read_jsonl(path)]
        assert steps == list(range(len(steps)))  # nothing lost, doubled or torn in the middle
        assert steps[-1] >= acknowledged > known
        known = acknowledged


@pytest.mark.timeout(30)
def test_a_partial_line_of_any_length_is_survived(tmp_path: Path) -> None:
    from rlcore.tracking.files import JsonlSink

    sink = JsonlSink(tmp_path)
    for step in range(3):
        sink.log({"step/env": step, "loss/value": float("nan")})
    sink.close()
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for cut in range(start, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert [r["step/env"] for r in read_jsonl(path)] == [0, 1]
        sink = JsonlSink(tmp_path)
        sink.log({"step/env": 7})
        sink.close()
        assert [r["step/env"] for r in read_jsonl(path)] == [0, 1, 7]
