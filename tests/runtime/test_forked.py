"""The fork server: its children are what fresh interpreters would be, and are lost with it."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_runs import first_message as answer
from toy_runs import gone
from toy_runs import start_child as start

from rlcore.runtime import forked
from rlcore.runtime.fork_server import FDS_PER_CHUNK
from rlcore.runtime.process import ChildProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server is for Linux")


def end(child: ChildProcess) -> int:
    deadline = time.monotonic() + 20
    while child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.close()
    return child.poll()


def described(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch, **kwargs: Any):
    monkeypatch.setenv("RLCORE_FORK_SERVER", "1" if way == "forked" else "0")
    child = start(tmp_path, "describe", **kwargs)
    assert isinstance(child.process, forked.Forked) == (way == "forked")
    message = answer(child)
    assert end(child) == 0
    return message


def test_a_forked_child_is_as_a_fresh_interpreter(tmp_path, monkeypatch):
    """Environment, folder, cores, limits, session, signals, output and descriptors."""
    forked.get_server()  # started before what follows is set
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("RLCORE_TEST_VALUE", "set late, é\udc80")
    monkeypatch.delenv("RLCORE_OFFLINE_LOG")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cores = os.sched_getaffinity(0)
    read, write = os.pipe()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    os.sched_setaffinity(0, {min(cores)})
    try:
        for_both = {"fds": (write,), "threads": 2, "write": write}
        ours = described(tmp_path, "forked", monkeypatch, **for_both)
        fresh = described(tmp_path, "fresh", monkeypatch, **for_both)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.sched_setaffinity(0, cores)
    assert os.read(read, 100) == b"xx"
    os.close(read)
    os.close(write)
    assert ours["environment"].pop("RLCORE_FORK_SERVER") == "1"
    assert fresh["environment"].pop("RLCORE_FORK_SERVER") == "0"
    for name in ("environment", "folder", "cores", "files", "leader", "signals", "threads", "path"):
        assert ours[name] == fresh[name], name
    assert ours["name"] == fresh["name"] == "child\n"
    assert ours["environment"]["OMP_NUM_THREADS"] == "2"
    assert ours["threads"] == 2
    assert ours["random"] != fresh["random"]
    assert (tmp_path / "child.log").read_text() == "printed\nprinted\n"


def test_no_two_children_draw_the_same_random_numbers(tmp_path, monkeypatch):
    drawn = [described(tmp_path, "forked", monkeypatch)["random"] for _ in range(3)]
    assert len({tuple(numbers) for numbers in drawn}) == 3
    first, second = zip(*drawn, strict=True)
    assert len(set(first)) == len(set(second)) == 3  # random's and numpy's


def test_many_descriptors_get_there_under_their_numbers(tmp_path, monkeypatch):
    pipes = [os.pipe() for _ in range(FDS_PER_CHUNK // 2 + 20)]
    fds = tuple(fd for pipe in pipes for fd in pipe)
    try:
        told = described(tmp_path, "forked", monkeypatch, fds=fds, inodes=list(fds))
        assert told["inodes"] == [os.fstat(fd).st_ino for fd in fds]
    finally:
        for fd in fds:
            os.close(fd)


def test_a_child_starts_in_a_fraction_of_an_import_of_torch(tmp_path):
    child = start(tmp_path, "leave")
    answer(child)
    end(child)
    begun = time.process_time(), time.monotonic()
    child = start(tmp_path, "torch_is_there")
    assert answer(child)["seconds"] < 0.2
    assert time.monotonic() - begun[1] < 5.0
    assert end(child) == 0


def test_exit_statuses_and_signals(tmp_path):
    assert end(start(tmp_path, "fail")) == 1
    child = start(tmp_path, "wait")
    answer(child)
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0.05)
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(20) == -signal.SIGTERM
    child.process.kill()  # has ended: nothing happens
    assert end(child) == -signal.SIGTERM
    child = start(tmp_path, "wait")
    answer(child)
    assert child.end() == -signal.SIGTERM
    child.close()


def test_what_is_left_to_do_at_the_end_is_done(tmp_path):
    child = start(tmp_path, "leave_late", file=str(tmp_path / "file"))
    answer(child)
    assert end(child) == 0
    assert (tmp_path / "file").read_text() == "thread, exit"


def test_no_zombie_is_left(tmp_path):
    server = forked.get_server()
    children = [start(tmp_path, "leave") for _ in range(3)]
    for child in children:
        end(child)
    states = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == server.pid:
            states.append(fields[0])
    assert "Z" not in states


def test_children_end_with_a_killed_server_and_the_next_has_a_new_one(tmp_path):
    child = start(tmp_path, "wait")
    answer(child)
    server = forked.get_server()
    os.kill(server.pid, signal.SIGKILL)
    assert gone(child.pid)
    assert end(child) == -signal.SIGKILL
    child = start(tmp_path, "leave")
    assert isinstance(child.process, forked.Forked)
    assert child.process.parent != server.pid
    assert answer(child)["kind"] == "hello"
    assert end(child) == 0


def test_a_server_that_does_not_come_up_is_done_without(tmp_path, monkeypatch):
    forked.close()
    monkeypatch.setattr(forked, "_given_up", None)
    monkeypatch.setenv("RLCORE_FORK_SERVER", "1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "gymnasium.py").write_text(
        "import threading, time\n"
        "if 'fork_server' in ' '.join(__import__('sys').orig_argv):\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    child = start(tmp_path, "leave")
    try:
        assert isinstance(child.process, subprocess.Popen)
        assert answer(child)["kind"] == "hello"
        assert end(child) == 0
        assert "2 threads run after the imports" in (tmp_path / "child.log").read_text()
        assert forked.get_server() is None  # it is not tried again for every child
    finally:
        monkeypatch.setattr(forked, "_given_up", None)


def test_a_system_without_process_descriptors_has_fresh_children(tmp_path, monkeypatch):
    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    forked._can_be_watched.cache_clear()
    monkeypatch.setattr(os, "pidfd_open", refuse)
    try:
        assert forked.get_server() is None
        child = start(tmp_path, "leave")
        assert isinstance(child.process, subprocess.Popen)
        answer(child)
        assert end(child) == 0
    finally:
        forked._can_be_watched.cache_clear()


def test_threads_may_start_children_at_once(tmp_path):
    found: list[int] = []

    def work() -> None:
        child = start(tmp_path, "leave")
        answer(child)
        found.append(end(child))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 6


def test_a_fork_of_this_process_asks_its_own_server(tmp_path):
    forked.get_server()
    pid = os.fork()
    if pid == 0:
        same = forked._server is not None and forked._world() == forked._server.world
        os._exit(int(same))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    child = start(tmp_path, "leave")  # and ours is still there
    answer(child)
    assert end(child) == 0


def test_this_process_keeps_its_own_random_state(tmp_path):
    random.seed(1)
    np.random.seed(1)
    wanted = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    end(start(tmp_path, "leave"))
    assert (random.random(), np.random.rand()) == wanted
