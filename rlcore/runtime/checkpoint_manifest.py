"""The manifest of a checkpoint: what belongs to it, and whether it is all there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlcore import __version__
from rlcore.errors import CheckpointError

FORMAT_VERSION = 1
MANIFEST = "MANIFEST.json"
MAX_MANIFEST_BYTES = 4 << 20
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class FormatTooNewError(CheckpointError):
    """A later release wrote the checkpoint; going back behind it would lose work in silence."""


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
        raise CheckpointError(
            f"{folder.name}: {MANIFEST} has format {found!r:.40}, wanted a number"
        )
    if found > FORMAT_VERSION:
        writer = values.get("written_by")
        raise FormatTooNewError(
            f"{folder.name}: format {found} was written by rlcore {writer!s:.40}; this is rlcore "
            f"{__version__}, which reads formats up to {FORMAT_VERSION}: "
            f"install rlcore>={writer!s:.40}"
        )
    try:
        return _manifest_from(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST} is malformed: {error!r:.200}") from None


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
        metrics=finite(values["metrics"]),
        files=files,
    )


def is_file_name(name: str) -> bool:
    """Return whether a file of a checkpoint may have this name: plain, and not the manifest's."""
    return _FILE.fullmatch(name) is not None and name != MANIFEST


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that can be compared; NaN and infinities say nothing of which is best."""
    return {str(k): float(v) for k, v in metrics.items() if math.isfinite(v)}


def _file_name(name: Any) -> str:
    if not isinstance(name, str) or not is_file_name(name):
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
