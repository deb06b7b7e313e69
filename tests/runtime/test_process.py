"""Child processes: lost at birth, ended with all they started, tied to the parent's life."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_parts
from toy_runs import first_message, gone, make_plan
from toy_runs import start_child as start

from rlcore.runtime import forked
from rlcore.runtime import supervisor as supervisor_module
from rlcore.runtime.process import wait_for_messages
from rlcore.runtime.supervisor import Supervisor, resident_mb


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["forked", "fresh"], autouse=True)
def way(request, monkeypatch):
    """How children are started."""
    monkeypatch.setenv("RLCORE_FORK_SERVER", "1" if request.param == "forked" else "0")
    return request.param


def test_a_child_that_dies_before_it_reads_its_boot_message_is_just_lost(
    tmp_path, monkeypatch, way
):
    """With a server that does not start, a fresh interpreter is tried."""
    forked.close()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    before = open_fds()
    child = start(tmp_path, "leave", padding="x" * 1_000_000)  # more than a pipe holds
    deadline = time.monotonic() + 5.0
    while child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.poll() == 1
    assert child.receive() == []
    child.close()
    assert open_fds() == before


def test_a_process_that_cannot_be_started_leaves_no_descriptor(tmp_path, monkeypatch):
    forked.close()

    def refuse(*args, **kwargs):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = open_fds()
    with pytest.raises(OSError, match="temporarily unavailable"):
        start(tmp_path, "leave")
    assert open_fds() == before


@pytest.mark.parametrize("die", [False, True])
def test_what_a_child_has_started_ends_with_it(tmp_path, die):
    child = start(tmp_path, "have_a_child", die=die)
    pid = first_message(child)["pid"]
    if die:
        deadline = time.monotonic() + 5.0
        while child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.poll() == 3
    else:
        child.end()
    child.close()
    assert gone(pid)


def test_a_pipe_at_its_end_does_not_keep_the_supervisor_awake(tmp_path):
    child = start(tmp_path, "leave")
    assert first_message(child)["kind"] == "hello"
    while child.poll() is None:
        time.sleep(0.01)
    child.receive()
    assert child.ended
    started = time.monotonic()
    wait_for_messages([child], 0.2)
    assert time.monotonic() - started >= 0.19
    child.close()


def test_a_child_outlives_the_thread_that_started_it_but_not_the_process(tmp_path):
    script = (
        "import sys, threading, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from rlcore.runtime.process import ChildProcess\n"
        "made = []\n"
        "def work():\n"
        "    made.append(ChildProcess('c', 'toy_children:wait', {}, (), Path(sys.argv[2]), 1))\n"
        "    while not made[0].receive():\n"
        "        time.sleep(0.01)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "time.sleep(0.5)\n"
        "print(made[0].poll(), made[0].pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        status, pid = parent.stdout.readline().split()
        assert status == "None"
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert gone(int(pid))


class FakeChild:
    """Notes what is done to it; ends only when it is told to."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def poll(self):
        return None

    def terminate(self):
        self.calls.append("terminate")

    def end(self, grace_s=2.0):
        self.calls.append("end")

    def close(self):
        self.calls.append("close")


def test_closing_asks_all_before_it_waits_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "LEAVE_S", 0.0)
    plan = make_plan("async", tmp_path, actors=3)
    run, calls = Supervisor(plan, toy_parts.build(plan.config)), []
    for seat in run.seats:
        seat.child = FakeChild(calls)
    run.close()
    assert calls == ["terminate"] * 3 + ["end", "close"] * 3


def test_resident_memory_is_counted_in_pages_of_this_machine(monkeypatch):
    here = resident_mb(os.getpid())
    lines = Path("/proc/self/status").read_text().splitlines()
    wanted = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    assert here == pytest.approx(wanted, rel=0.1)
    monkeypatch.setattr(os, "sysconf", lambda name: 16 * 4096)
    assert resident_mb(os.getpid()) == pytest.approx(16 * wanted, rel=0.1)
