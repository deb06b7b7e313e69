"""Reading one checkpoint: everything is checked before it is believed."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlcore.errors import CheckpointError
from rlcore.runtime.checkpoint_files import TENSOR_SUFFIX
from rlcore.runtime.checkpoint_manifest import Manifest, read_manifest, verify_file
from rlcore.runtime.json_state import parse_json
from rlcore.tensor_file import load_tensors

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state"
MAX_JSON_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        step: Environment steps.
        tensors: By file stem, then by name; on the CPU.
        state: The JSON state given to ``save``.
        path: Its folder.
        metrics: The figures given to ``save``.
        documents: Contents of further JSON files, by stem.
        config_hash: Hash of the experiment it belongs to.
        skipped: Why newer (or better) checkpoints were passed over.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    path: Path
    metrics: dict[str, float] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    config_hash: str = ""
    skipped: list[str] = field(default_factory=list)


def read_checkpoint(
    folder: Path, hashes: Collection[str] | None = None, only: Collection[str] | None = None
) -> Checkpoint:
    """Load one checkpoint folder.

    Args:
        folder: The folder.
        hashes: Hashes of the experiment it must belong to, the newest first; any if ``None``.
        only: Stems of the tensor files to read; all by default.

    Raises:
        CheckpointError: It is incomplete, damaged, of another experiment, or of a format that this
            release cannot read.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint")
    manifest = read_manifest(folder)
    if hashes is not None and manifest.config_hash not in hashes:
        raise CheckpointError(
            f"{folder.name}: belongs to another experiment: its config hash is "
            f"{manifest.config_hash:.64}, this one's {' or '.join(hashes)}"
        )
    tensors, documents = _read_files(folder, manifest, only)
    state = documents.pop(STATE, None)
    if not isinstance(state, dict):
        raise CheckpointError(f"{folder.name}: {STATE}.json is not in it, or holds no object")
    return Checkpoint(
        manifest.step,
        tensors,
        state,
        folder,
        metrics=manifest.metrics,
        documents=documents,
        config_hash=manifest.config_hash,
    )


def _read_files(
    folder: Path, manifest: Manifest, only: Collection[str] | None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    tensors: dict[str, dict[str, Tensor]] = {}
    documents: dict[str, Any] = {}
    for record in manifest.files:
        stem, suffix = os.path.splitext(record.name)
        if suffix == TENSOR_SUFFIX and only is not None and stem not in only:
            continue
        verify_file(folder, record)
        if suffix == TENSOR_SUFFIX:
            tensors[stem] = load_tensors(folder / record.name)
        elif suffix == ".json":
            documents[stem] = _read_json(folder, record.name)
    return tensors, documents


def _read_json(folder: Path, name: str) -> Any:
    path = folder / name
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{folder.name}: {name} is over {MAX_JSON_BYTES} bytes")
        return parse_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{folder.name}: {name} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise CheckpointError(f"{folder.name}: {name} is not JSON: {error!s:.120}") from None
