"""The session's guards work: a planted leak or an attempt to reach the network fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = "def test_fine():\n    pass\n"
ORPHAN = """
import subprocess, sys

def test_leaves_an_orphan():
    child = "import time; time.sleep(20)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    subprocess.run([sys.executable, "-c", parent], check=True)
"""
SEGMENT = """
import os

def test_leaves_a_segment():
    with open(f"/dev/shm/rlcore-planted-{os.getpid()}", "wb") as file:
        file.write(b"x")
"""
CONNECTION = """
import socket

def test_swallows_the_refusal():
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=1)
    except OSError:
        pass
"""
SETTINGS = """
import os, torch

def test_changes_settings():
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)

def test_finds_them_as_they_were():
    assert torch.get_num_threads() == 1
    assert torch.get_default_dtype() == torch.float32
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["WANDB_MODE"] == "offline"
    assert "WANDB_API_KEY" not in os.environ
    assert not os.environ["WANDB_DIR"].startswith(os.getcwd())
"""


def session(root: Path, folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run ``source`` as a test session of its own under the project's conftest."""
    shutil.copy(root / "tests/conftest.py", folder)
    shutil.copytree(root / "tests/offline", folder / "offline")
    (folder / "test_planted.py").write_text(source)
    environment = dict(os.environ, WANDB_API_KEY="0" * 40)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder),
         "-c", str(root / "pyproject.toml"), str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )  # fmt: skip


def test_a_clean_session_passes(repo_root: Path, tmp_path: Path) -> None:
    done = session(repo_root, tmp_path, CLEAN)
    assert done.returncode == 0, done.stdout


def test_settings_are_pinned_and_put_back(repo_root: Path, tmp_path: Path) -> None:
    done = session(repo_root, tmp_path, SETTINGS)
    assert done.returncode == 0, done.stdout


def test_an_orphan_process_is_found(repo_root: Path, tmp_path: Path) -> None:
    done = session(repo_root, tmp_path, ORPHAN)
    assert done.returncode == 1
    assert "processes left behind" in done.stdout


def test_a_leaked_segment_is_found(repo_root: Path, tmp_path: Path) -> None:
    try:
        done = session(repo_root, tmp_path, SEGMENT)
    finally:
        planted = list(Path("/dev/shm").glob("rlcore-planted-*"))
        for path in planted:
            path.unlink()
    assert planted
    assert done.returncode == 1
    assert "shared memory left behind" in done.stdout


@pytest.mark.skipif(os.environ.get("RLCORE_OFFLINE") == "0", reason="the guard is lifted")
def test_an_attempt_to_reach_the_network_is_found(repo_root: Path, tmp_path: Path) -> None:
    done = session(repo_root, tmp_path, CONNECTION)
    assert done.returncode == 1
    assert "tried to reach the network" in done.stdout
