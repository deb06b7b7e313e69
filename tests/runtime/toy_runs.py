"""Runs the toy experiment to its end in any placement, for runtime tests."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toy_parts

from rlcore.runtime.checkpoint import Checkpoint, Checkpointer
from rlcore.runtime.placement import Placement, place
from rlcore.runtime.plan import RunPlan
from rlcore.runtime.process import ChildProcess, wait_for_messages

ENVS, STREAMS, UNROLL = 4, 4, 8


@dataclass
class Outcome:
    run_dir: Path
    result: dict[str, Any] | None
    messages: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpointer(self.run_dir / "checkpoints").load("latest")

    @property
    def totals(self) -> dict[str, Any]:
        return self.checkpoint.state["totals"]

    @property
    def parameters(self) -> str:
        """Hash of the newest parameters."""
        checkpoint = self.checkpoint
        newest = checkpoint.state["version"] - checkpoint.state["oldest_version"]
        digest = hashlib.sha256()
        for _, tensor in sorted(checkpoint.tensors[f"params-{newest}"].items()):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def records(self) -> list[dict[str, float]]:
        return [m["record"] for m in self.messages if m["kind"] == "metrics" and m["record"]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["kind"] == kind]


def make_plan(
    schedule: str,
    run_dir: Path,
    *,
    actors: int = 1,
    updates: int | None = 20,
    config: dict[str, Any] | None = None,
    **more: Any,
) -> RunPlan:
    settings = {"unroll": UNROLL, "envs": ENVS, **(config or {})}
    streams = more.pop("streams", STREAMS)
    stop = more.pop("stop", {"updates": updates})
    return RunPlan(
        factory="toy_parts:build",
        config=settings,
        run_dir=str(run_dir),
        seed=more.pop("seed", 3),
        actors=actors,
        streams=streams,
        envs=more.pop("envs", ENVS),
        batch=more.pop("batch", streams),
        schedule=schedule,
        stop=stop,
        report_every_s=0.2,
        final_obs_capacity=0 if settings.get("vector", True) else UNROLL * ENVS,
        **more,
    )


def train(
    placement: str,
    schedule: str,
    *,
    run_dir: Path | None = None,
    watch: Callable[[Placement, list[dict[str, Any]]], None] | None = None,
    limit_s: float = 60.0,
    **settings: Any,
) -> Outcome:
    """Run to the end; ``watch`` is called after every poll."""
    run_dir = run_dir or Path(tempfile.mkdtemp())
    plan = make_plan(schedule, run_dir, **settings)
    run = place(plan, toy_parts.build(plan.config), placement)
    outcome = Outcome(run_dir, None)
    started = time.monotonic()
    try:
        run.start()
        while not run.finished:
            outcome.messages += run.poll(0.05)
            if watch is not None:
                watch(run, outcome.messages)
            if time.monotonic() - started > limit_s:
                raise TimeoutError(f"not finished after {limit_s} s: {outcome.messages[-3:]}")
        outcome.messages += run.poll(0.0)
        outcome.result = run.result
    except Exception as error:
        if isinstance(error, TimeoutError):
            raise
        outcome.error = error
    finally:
        run.close()
    return outcome


def read_ledger(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each update of a run with ``config["ledger"]`` was trained on."""
    return [json.loads(line) for line in Path(config["ledger"]).read_text().splitlines()]


def start_child(
    tmp_path: Path, entry: str, fds: tuple[int, ...] = (), threads: int = 1, **args: Any
) -> ChildProcess:
    """Start a child that runs a function of ``toy_children``."""
    log = tmp_path / "child.log"
    return ChildProcess("child", f"toy_children:{entry}", args, fds, log, threads)


def first_message(child: ChildProcess, timeout: float = 60.0) -> dict[str, Any]:
    """Return what a child says first."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        wait_for_messages([child], 0.5)
        for message in child.receive():
            return message
    raise TimeoutError


def children_of(pid: int) -> list[int]:
    """Return the living children of a process; those of its fork server count, it does not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) != pid or fields[0] == "Z":
                continue
            server = b"rlcore.runtime.fork_server" in command
            server = server and not forked_from_one(int(entry.name))
            found += children_of(int(entry.name)) if server else [int(entry.name)]
    return found


def forked_from_one(pid: int) -> bool:
    """Return whether a process was forked by a fork server, whose command line it has."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return b"rlcore.runtime.fork_server" in Path(f"/proc/{parent}/cmdline").read_bytes()


def gone(pid: int, timeout: float = 3.0) -> bool:
    """Return whether a process ends (or is a zombie) within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
