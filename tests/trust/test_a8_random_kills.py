"""Promise A8 for whole runs: whatever is killed, nothing is left of it and the run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

FILE = """\
rlcore: 1
name: small
env: {{id: CartPole-v1, num_envs: 8}}
agent: {{type: {agent}, unroll: 8, network: {{hidden: [16]}}}}
runtime: {{placement: local, schedule: {schedule}, actors: 2}}
stop: {{wall_time: 1h}}
eval: {{episodes: 0}}
checkpoint: {{every: 300ms, keep: 2}}
track: {{wandb: off, tensorboard: false, console: plain}}
"""
DONE, FAILED, NO_CHECKPOINT, KILLED, INTERRUPTED = 0, 1, 4, -9, 130


class Started:
    """A run in a process of its own; its processes carry a mark."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        path = f"{root}:{os.environ.get('PYTHONPATH', '')}"
        self.env = {**os.environ, "PYTHONPATH": path, "RANDOM_KILLS": self.mark}
        with (folder / "stderr.txt").open("w") as stderr:
            self.process = subprocess.Popen(
                self.command("run", "small.yaml", "--name", "one"),
                cwd=folder, env=self.env, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "experiments.cli", *words]

    def said(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    def children(self) -> list[int]:
        """Return the processes that the run has started: fork server, learner, actors."""
        return sorted(set(self.alive()) - {self.process.pid})

    def alive(self) -> list[int]:
        """Return the processes of this run that have not ended."""
        found, wanted = [], f"RANDOM_KILLS={self.mark}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if wanted in (process / "environ").read_bytes() and state not in "ZX":
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def resume(self) -> subprocess.CompletedProcess[str]:
        words = ("run", "--resume", "runs/one", "stop={env_steps: 1}")
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.env, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip


def kill_parent(run: Started, rng: random.Random) -> set[int]:
    run.process.kill()
    return {KILLED}


def kill_child(run: Started, rng: random.Random) -> set[int]:
    """Kill an actor, which comes back, or the learner, which ends the run."""
    children = run.children()
    if not children:
        return kill_parent(run, rng)
    os.kill(rng.choice(children), signal.SIGKILL)
    time.sleep(3.0)
    run.process.send_signal(signal.SIGINT)
    return {FAILED, INTERRUPTED}


def interrupt_twice(run: Started, rng: random.Random) -> set[int]:
    run.process.send_signal(signal.SIGINT)
    time.sleep(rng.uniform(0.0, 0.3))
    run.process.send_signal(signal.SIGINT)
    return {INTERRUPTED}


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("schedule", ["async", "lockstep", "hogwild"])
@pytest.mark.parametrize("strike", [kill_parent, kill_child, interrupt_twice])
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_left_and_the_run_goes_on(
    tmp_path: Path,
    repo_root: Path,
    schedule: str,
    strike: Callable[[Started, random.Random], set[int]],
    seed: int,
) -> None:
    rng = random.Random(f"{schedule} {strike.__name__} {seed}")
    agent = "a3c" if schedule == "hogwild" else "impala"
    (tmp_path / "small.yaml").write_text(FILE.format(agent=agent, schedule=schedule))
    run = Started(tmp_path, repo_root)
    try:
        while not (tmp_path / "runs/one/events.jsonl").exists():
            assert run.process.poll() is None, run.said()
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 8.0))
        wanted = strike(run, rng)
        assert run.process.wait(60) in wanted, run.said()
        deadline = time.monotonic() + 3.0
        while (alive := run.alive()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive == []
        assert "Traceback" not in run.said()
        again = run.resume()
        saved = "checkpoint: step" in run.said()
        assert again.returncode in ({DONE} if saved else {DONE, NO_CHECKPOINT}), again.stderr
        leftovers = [p.name for p in (tmp_path / "runs/one/checkpoints").glob(".t*")]
        assert leftovers == [] or again.returncode == NO_CHECKPOINT
    finally:
        run.process.kill()
        run.process.wait()
