"""Promise C3: a full disk or a read-only folder fails one save; earlier ones are intact."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint import Checkpointer


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpointer:
    made = Checkpointer(tmp_path / "checkpoints", keep=1)
    made.save(1, {"learner": {"w": torch.ones(8)}}, {"step": 1})
    return made


def assert_intact(checkpoints: Checkpointer) -> None:
    assert os.listdir(checkpoints.directory) == ["step-000000000001"]
    assert checkpoints.load().state == {"step": 1}


def test_a_file_size_limit_in_the_middle_of_a_save(checkpoints: Checkpointer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step 2 was not written .*: File too large"):
            checkpoints.save(2, {"a": {"w": torch.ones(9)}, "b": {"w": torch.ones(99_999)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_intact(checkpoints)
    checkpoints.save(3, {}, {"step": 3})
    assert checkpoints.load().step == 3


def test_a_failing_sync_fails_the_save(
    checkpoints: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(CheckpointError, match="Input/output error; earlier ones are intact"):
        checkpoints.save(2, {}, {})
    monkeypatch.undo()
    assert_intact(checkpoints)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("not a folder")
    with pytest.raises(CheckpointError, match="step 1 was not written"):
        Checkpointer(tmp_path / "checkpoints").save(1, {}, {})
    assert (tmp_path / "checkpoints").read_text() == "not a folder"


# In a mount namespace of its own: the mount ends with the process, however it ends.
ON_SMALL_DISK = """
import os, subprocess, sys
import numpy as np
from pathlib import Path
from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint import Checkpointer
from rlcore.runtime.checkpoint_manifest import read_manifest, verify_file

disk = Path(sys.argv[1])
checkpoints = Checkpointer(disk / "checkpoints", keep=1)

def save(step):
    checkpoints.save(step, {"learner": {"w": np.full(25_000, step, np.int64)}}, {"step": step})

def intact(step):
    (folder,) = checkpoints.directory.iterdir()
    manifest = read_manifest(folder)
    assert manifest.step == step, folder
    for record in manifest.files:
        verify_file(folder, record)

def refused(step, why):
    try:
        save(step)
    except CheckpointError as error:
        assert f"checkpoint of step {step} was not written" in str(error), error
        assert why in str(error), error
        return
    sys.exit(f"saving step {step} worked; wanted: {why}")

save(1)
filler = disk / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
left = os.statvfs(disk)
for keep_free in (0, 1, 20):  # no room for a folder, for the first file, for the second half of it
    os.truncate(filler, filler.stat().st_size - keep_free * 4096)
    refused(2, "No space left on device")
    intact(1)
filler.unlink()
save(3)
intact(3)
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
refused(4, "Read-only file system")
intact(3)
subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
save(5)
intact(5)
print("held")
"""


def own_mounts_allowed(folder: Path) -> bool:
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_small_disk_fills_up_and_turns_read_only(tmp_path: Path, repo_root: Path) -> None:
    if not own_mounts_allowed(tmp_path):
        pytest.skip("needs user and mount namespaces (unshare -rm) to mount a small tmpfs")
    inside = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside, "sh", str(tmp_path), sys.executable, ON_SMALL_DISK],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr
