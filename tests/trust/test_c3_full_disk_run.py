"""Promise C3 for whole runs: no room, or no right to write, costs new checkpoints and no old."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlcore.runtime.checkpoint import Checkpointer

FILE = """\
rlcore: 1
name: small
env: {id: CartPole-v1, num_envs: 4}
agent: {type: impala, unroll: 8, network: {hidden: [8]}}
learner: {optimizer: {type: sgd, lr: 0.01}}
runtime: {placement: local, schedule: async, actors: 1}
stop: {wall_time: 1h}
eval: {episodes: 0}
checkpoint: {every: 200ms, keep: 2}
track: {wandb: off, tensorboard: false, console: plain}
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


class Running:
    """A command line in a process of its own, with its standard error in a file."""

    def __init__(self, folder: Path, root: Path, *words: str) -> None:
        self.folder, self.said = folder, folder / "stderr.txt"
        with self.said.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.cli", *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
                preexec_fn=obey_permissions,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def wait_for(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.said.read_text().count(text) < times:
            assert time.monotonic() < deadline, self.said.read_text()
            assert self.process.poll() is None, self.said.read_text()
            time.sleep(0.05)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def last_line(self) -> str:
        text = self.said.read_text()
        assert "Traceback" not in text, text
        return text.splitlines()[-1]


def obey_permissions() -> None:
    """Have the superuser, in the process to be started, obey permissions like anyone else."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.fixture
def start(tmp_path: Path, repo_root: Path) -> Iterator[Callable[..., Running]]:
    (tmp_path / "small.yaml").write_text(FILE)
    started: list[Running] = []

    def run(*words: str) -> Running:
        started.append(Running(tmp_path, repo_root, *words))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()


def goes_on(start: Callable[..., Running], folder: Path) -> None:
    """The last checkpoint loads, and the run goes on from it to a new one."""
    saved = Checkpointer(folder / "checkpoints").load()
    steps = saved.state["totals"]["env_steps"]
    again = start("run", "--resume", str(folder), f"stop={{env_steps: {steps + 2000}}}")
    assert again.process.wait(60) == 0, again.said.read_text()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    resumed = [event["step"] for event in events if event["kind"] == "resumed"]
    assert resumed == [steps]
    assert Checkpointer(folder / "checkpoints").load().step > saved.step


def test_a_folder_that_turns_read_only_in_mid_run(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    run = start("run", "small.yaml", "--name", "one")
    run.wait_for("checkpoint: ")
    folder = tmp_path / "runs/one"
    places = [folder, folder / "checkpoints", folder / "checkpoints/.streams"]
    for place in places:
        place.chmod(0o555)
    try:
        run.wait_for("warning: checkpoint not written:", times=2)  # it trains on, and tries again
        kept = sorted(os.listdir(folder / "checkpoints"))
        assert run.interrupt() == 1
        assert sorted(os.listdir(folder / "checkpoints")) == kept
    finally:
        for place in reversed(places):
            place.chmod(0o755)
    assert "Permission denied" in run.last_line()
    assert run.last_line().startswith("error: the final checkpoint was not written: ")
    assert run.last_line().endswith(f"is kept: rlcore run --resume {folder}")
    goes_on(start, folder)


@pytest.mark.slow
def test_a_folder_that_can_be_written_again_in_mid_run(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    run = start("run", "small.yaml", "--name", "one")
    run.wait_for("checkpoint: ")
    checkpoints = tmp_path / "runs/one/checkpoints"
    checkpoints.chmod(0o555)
    try:
        run.wait_for("warning: checkpoint not written:")
    finally:
        checkpoints.chmod(0o755)
    run.wait_for("checkpoint: ", times=run.said.read_text().count("checkpoint: ") + 2)
    assert run.interrupt() == 130
    goes_on(start, tmp_path / "runs/one")


@pytest.mark.slow
def test_files_that_may_not_grow_in_mid_run(start: Callable[..., Running], tmp_path: Path) -> None:
    """As on a full disk: every write to a file of any process fails, the log's included."""
    run = start("run", "small.yaml", "--name", "one")
    run.wait_for("checkpoint: ")
    kept = Checkpointer(tmp_path / "runs/one/checkpoints").load().step
    for pid in with_descendants(run.process.pid):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and run.process.poll() is None:
        time.sleep(0.1)
    assert run.process.poll() is None, "a run does not end for it"
    assert run.interrupt() == 1
    assert Checkpointer(tmp_path / "runs/one/checkpoints").load().step >= kept
    goes_on(start, tmp_path / "runs/one")


def with_descendants(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for file in files for child in file.read_text().split()]
    return [pid, *(each for child in children for each in with_descendants(child))]


FILL = """
set -e
mount -t tmpfs -o size=2m tmpfs "$1"
cp "$2/small.yaml" "$1"
cd "$1"
exec "$3" -c "$4" "$1"
"""

ON_SMALL_DISK = """
import json, os, subprocess, sys, time
from pathlib import Path
from rlcore.runtime.checkpoint import Checkpointer

disk = Path(sys.argv[1])
folder = disk / "runs/one"

def cli(*words):
    return [sys.executable, "-m", "experiments.cli", *words]

def read(file):
    return file.read_text() if file.exists() else ""

def wait_for(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, said()
        assert run.poll() is None, said()
        time.sleep(0.05)

def said():
    return os.pread(err, 1 << 20, 0).decode()

err = os.memfd_create("stderr")
run = subprocess.Popen(cli("run", "small.yaml", "--name", "one"), stderr=err,
                       stdout=subprocess.DEVNULL)
try:
    wait_for(lambda: "checkpoint: " in said())
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for _ in range(2):  # what is freed by a failed save is taken as well
            try:
                while file.write(bytes(1024)):
                    pass
            except OSError:
                time.sleep(1.0)
    wait_for(lambda: said().count("warning: checkpoint not written") >= 2)
    assert "No space left on device" in said(), said()
    step = Checkpointer(folder / "checkpoints").load().step
    run.send_signal(2)
    assert run.wait(60) == 1, said()
    last = said().splitlines()[-1]
    assert last.startswith("error: the final checkpoint was not written: "), said()
    assert "No space left on device" in last, said()
    assert "Traceback" not in said(), said()
    assert Checkpointer(folder / "checkpoints").load().step == step
finally:
    run.kill()
filler.unlink()
more = "stop={env_steps: %d}" % (step + 2000)
again = subprocess.run(cli("run", "--resume", "runs/one", more), timeout=60,
                       capture_output=True, text=True)
assert again.returncode == 0, again.stderr
assert Checkpointer(folder / "checkpoints").load().step > step
print("held")
"""


def test_a_disk_that_fills_up_in_mid_run(tmp_path: Path, repo_root: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "small.yaml").write_text(FILE)
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("needs user and mount namespaces (unshare -rm) to mount a small tmpfs")
    inside = ["unshare", "-rm", "sh", "-c", FILL, "sh", str(disk), str(tmp_path)]
    done = subprocess.run(
        [*inside, sys.executable, ON_SMALL_DISK],
        env={**os.environ, "PYTHONPATH": f"{repo_root}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr
