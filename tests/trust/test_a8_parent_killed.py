"""Promise A8: when the parent is killed, no child and no shared memory is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy_runs

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import toy_runs

def watch(run, messages):
    if sum(m['kind'] == 'started' for m in messages) == int(sys.argv[4]):
        print('running', flush=True)

toy_runs.train(
    'local', sys.argv[3], actors=2, updates=10**9, watch=watch, run_dir=Path(sys.argv[2])
)
"""


@pytest.mark.parametrize(("schedule", "children"), [("async", 3), ("hogwild", 2)])
def test_killing_the_parent_leaves_nothing(tmp_path: Path, schedule: str, children: int) -> None:
    before = set(os.listdir("/dev/shm"))
    folder = str(Path(toy_runs.__file__).parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder, str(tmp_path), schedule, str(children)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == "running\n"
        pids = toy_runs.children_of(parent.pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert len(pids) == children
    assert all(toy_runs.gone(pid) for pid in pids), "children outlived their parent"
    assert set(os.listdir("/dev/shm")) <= before
