"""The folders of checkpoints: names, staging, and the clean-up behind killed writers.

A checkpoint is a folder ``step-<step>`` with tensor files, JSON files and ``MANIFEST.json``, which
names each of them with size and SHA-256. It is made in a staging folder and renamed into place when
all of it is on the disk: a folder of that name is whole, whenever the writer was killed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlcore import __version__
from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint_manifest import (
    FORMAT_VERSION,
    MANIFEST,
    FileRecord,
    Manifest,
    is_file_name,
)
from rlcore.runtime.durable_files import lock_folder, sync_folder, write_durably
from rlcore.runtime.json_state import dump_json
from rlcore.tensor_file import Arrays, save_tensors

TENSOR_SUFFIX = ".safetensors"
_FOLDER = re.compile(r"step-(\d{12,18})(?:-(\d{1,6}))?")


def checkpoint_folders(directory: Path) -> list[Path]:
    """Return the checkpoint folders of ``directory``, whole or not, by step."""
    try:
        found = [path for path in directory.iterdir() if folder_step(path) is not None]
    except OSError:
        return []
    return sorted(found, key=lambda path: _order(path.name))


def _order(name: str) -> tuple[int, int]:
    match = _FOLDER.fullmatch(name)
    return (int(match[1]), int(match[2] or 1)) if match else (-1, 0)


def folder_step(path: Path) -> int | None:
    """Return the step in a checkpoint folder's name; ``None`` if it is not one."""
    match = _FOLDER.fullmatch(path.name)
    return int(match[1]) if match else None


def free_name(directory: Path, step: int) -> Path:
    """Return where a checkpoint of ``step`` can go; one that is there already is not touched."""
    path, again = directory / f"step-{step:012d}", 2
    while path.exists():
        path = directory / f"step-{step:012d}-{again}"
        again += 1
    return path


class Staging:
    """A checkpoint in the making; other processes may put files into ``path`` before ``seal``.

    A lock on the folder tells a writer that lives from one that was killed.

    Args:
        directory: Where checkpoints are.
        step: Environment steps.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self.step = step
        self.path = directory / f".tmp-{step:012d}-{os.getpid()}"
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        self._written: dict[str, FileRecord] = {}
        self._lock = lock_folder(self.path)

    def write_tensors(self, stem: str, tensors: Arrays) -> None:
        """Write ``<stem>.safetensors``."""
        name = self._new(stem + TENSOR_SUFFIX)
        size, digest = save_tensors(self.path / name, tensors)
        self._written[name] = FileRecord(name, size, digest)

    def write_json(self, stem: str, value: Any) -> None:
        """Write ``<stem>.json``."""
        name, text = self._new(f"{stem}.json"), dump_json(value)
        write_durably(self.path / name, text)
        self._written[name] = FileRecord(name, len(text), hashlib.sha256(text).hexdigest())

    def _new(self, name: str) -> str:
        if not is_file_name(name) or name in self._written:
            raise CheckpointError(f"{name!r} cannot be (again) a file of a checkpoint")
        return name

    def seal(
        self,
        target: Path,
        *,
        config_hash: str,
        sequence: int,
        milestone: bool,
        metrics: Mapping[str, float],
    ) -> Manifest:
        """Write the manifest over all files and move the folder to ``target``."""
        manifest = Manifest(
            format=FORMAT_VERSION,
            written_by=__version__,
            config_hash=config_hash,
            step=self.step,
            sequence=sequence,
            milestone=milestone,
            metrics=dict(metrics),
            files=tuple(self._record(path) for path in sorted(self.path.iterdir())),
        )
        write_durably(self.path / MANIFEST, manifest.to_bytes())
        sync_folder(self.path)
        self.path.rename(target)
        sync_folder(target.parent)
        self.close()
        return manifest

    def _record(self, path: Path) -> FileRecord:
        if path.name in self._written:
            return self._written[path.name]
        if not is_file_name(path.name) or path.is_symlink() or not path.is_file():
            raise CheckpointError(f"{path.name!r} cannot be a file of a checkpoint")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            return FileRecord(path.name, os.fstat(file.fileno()).st_size, digest)

    def discard(self) -> None:
        """Remove the folder if it is still there."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_leftovers(directory: Path) -> list[Path]:
    """Remove what killed writers left: staging folders without a live owner, and trash."""
    removed = []
    for path in [*directory.glob(".tmp-*"), *directory.glob(".trash-*")]:
        if path.name.startswith(".trash-") or _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


def _abandoned(staging: Path) -> bool:
    owner = staging.name.rpartition("-")[2]
    if not owner.isdigit():
        return False
    if not _alive(int(owner)):
        return True
    # A process of that number lives, but it may be another one: containers reuse numbers.
    try:
        fd = lock_folder(staging)
    except OSError:
        return False
    if fd is not None:
        os.close(fd)
    return fd is not None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def move_to_trash(folder: Path) -> None:
    """Delete a checkpoint so that no moment shows half of it under its name."""
    trash = folder.with_name(f".trash-{folder.name}-{os.getpid()}")
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
