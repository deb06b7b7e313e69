"""Promise G2: two runs cannot share a run folder; a killed run does not keep it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.run_folder import RunFolder
from rlcore.errors import RunFolderError

HOLDER = """
import sys
from experiments.run_folder import RunFolder
folder = RunFolder.open(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with RunFolder.create(tmp_path / "my rüns", "x", 0, "a: 1\n") as made:
        return made.path


def hold(path: Path, repo_root: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=repo_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_process_is_told_who_holds_it(folder: Path, repo_root: Path) -> None:
    with hold(folder, repo_root) as holder:
        try:
            status = (folder / "STATUS.json").read_bytes()
            with pytest.raises(RunFolderError, match=rf"in use by process {holder.pid} on .*two"):
                RunFolder.open(folder)
            assert (folder / "STATUS.json").read_bytes() == status
        finally:
            holder.communicate("")
    with RunFolder.open(folder) as mine:
        assert mine.starts == 2


def test_sigkill_frees_the_folder(folder: Path, repo_root: Path) -> None:
    with hold(folder, repo_root) as holder:
        holder.kill()
        holder.wait(10)
        with RunFolder.open(folder) as mine:
            assert mine.starts == 2


def test_a_child_process_does_not_keep_the_lock(folder: Path) -> None:
    with RunFolder.open(folder):
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        RunFolder.open(folder).close()
    finally:
        child.communicate(b"\n")


def test_one_process_cannot_hold_it_twice(folder: Path) -> None:
    with RunFolder.open(folder), pytest.raises(RunFolderError, match="is in use by process"):
        RunFolder.open(folder)
