"""The files of one checkpoint: names, manifest, staging folder, durable writes.

A checkpoint is a folder ``step-<step>`` with tensor files, JSON files and ``MANIFEST.json``, which
names each of them with size and SHA-256. It is made in a staging folder and renamed into place when
all of it is on the disk: a folder of that name is whole, whenever the writer was killed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlcore import __version__
from rlcore.data.tensor_file import Arrays, save_tensors
from rlcore.errors import CheckpointError
from rlcore.runtime.json_state import dump_json

FORMAT_VERSION = 1
MANIFEST = "MANIFEST.json"
TENSOR_SUFFIX = ".safetensors"
MAX_MANIFEST_BYTES = 4 << 20
_FOLDER = re.compile(r"step-(\d{12,18})(?:-(\d{1,6}))?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest says of one file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What makes a folder a checkpoint.

    Attributes:
        format: Version of this layout.
        written_by: Release of rlcore that wrote it.
        config_hash: Hash of the experiment it belongs to.
        step: Environment steps.
        sequence: One more than the checkpoint written before; the largest is the newest.
        milestone: Whether it is kept for good.
        metrics: Figures to choose the best by.
        files: All other files of the folder.
    """

    format: int
    written_by: str
    config_hash: str
    step: int
    sequence: int
    milestone: bool
    metrics: dict[str, float]
    files: tuple[FileRecord, ...]

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint folder.

    Raises:
        CheckpointError: It is missing, malformed, or of a format this release cannot read.
    """
    values = _read_manifest_json(folder)
    found = values.get("format")
    if type(found) is not int or found < 1:
        raise CheckpointError(f"{folder.name}: {MANIFEST} has format {found!r:.40}, wanted a number")
    if found > FORMAT_VERSION:
        writer = values.get("written_by")
        raise FormatTooNewError(
            f"{folder.name}: format {found} was written by rlcore {writer!s:.40}; this is rlcore "
            f"{__version__}, which reads formats up to {FORMAT_VERSION}: "
            f"install rlcore>={writer!s:.40}"
        )
    try:
        return _manifest_from(values)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is malformed: {error!r:.200}") from None


class FormatTooNewError(CheckpointError):
    """A later release wrote the checkpoint; going back behind it would lose work in silence."""


def _read_manifest_json(folder: Path) -> dict[str, Any]:
    try:
        with (folder / MANIFEST).open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is missing: incomplete") from None
    except OSError as error:
        raise CheckpointError(
            f"{folder.name}: {MANIFEST} cannot be read ({error.strerror})"
        ) from None
    if len(text) > MAX_MANIFEST_BYTES:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is over {MAX_MANIFEST_BYTES} bytes")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is not JSON: {error!s:.120}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder.name}: {MANIFEST} must hold an object")
    return values


def _manifest_from(values: Mapping[str, Any]) -> Manifest:
    files = tuple(
        FileRecord(_file_name(f["name"]), _count(f["size"]), str(f["sha256"]))
        for f in values["files"]
    )
    return Manifest(
        format=values["format"],
        written_by=str(values["written_by"]),
        config_hash=str(values["config_hash"]),
        step=_count(values["step"]),
        sequence=_count(values["sequence"]),
        milestone=bool(values["milestone"]),
        metrics={str(name): float(value) for name, value in values["metrics"].items()},
        files=files,
    )


def _file_name(name: Any) -> str:
    if not isinstance(name, str) or not _FILE.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"file name {name!r:.80}")
    return name


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"wanted a count, got {value!r:.40}")
    return value


def verify_file(folder: Path, record: FileRecord) -> None:
    """Check that a file is what the manifest says.

    Raises:
        CheckpointError: It is missing, a link, of another size, or of other contents.
    """
    path = folder / record.name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if size != record.size:
                raise CheckpointError(
                    f"{folder.name}: {record.name} has {size} bytes, wanted {record.size}"
                )
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"{folder.name}: {record.name} cannot be read ({error.strerror})"
        ) from None
    if digest != record.sha256:
        raise CheckpointError(f"{folder.name}: {record.name} is damaged: its SHA-256 differs")


def checkpoint_folders(directory: Path) -> list[Path]:
    """Return the checkpoint folders of ``directory``, whole or not, by step."""
    try:
        found = [path for path in directory.iterdir() if folder_step(path) is not None]
    except OSError:
        return []
    return sorted(found, key=lambda path: _FOLDER_KEY(path.name))


def _FOLDER_KEY(name: str) -> tuple[int, int]:  # noqa: N802
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
        if not _FILE.fullmatch(name) or name == MANIFEST or name in self._written:
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
            metrics={k: float(v) for k, v in metrics.items() if math.isfinite(v)},
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
        if not _FILE.fullmatch(path.name) or path.is_symlink() or not path.is_file():
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


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Replace a file in one step: readers see the old contents or the new ones."""
    part = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        write_durably(part, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(fd)


def lock_folder(path: Path) -> int | None:
    """Return a descriptor that holds the folder's lock; ``None`` if the file system has none.

    Raises:
        BlockingIOError: Another descriptor holds it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    except OSError:
        os.close(fd)
        return None
    return fd


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
