"""A model's folder, read with suspicion: small strict JSON, plain file names, nothing outside.

What a folder says is checked before memory is taken for it, and every refusal names the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rlcore.errors import CheckpointError
from rlcore.tensor_file import MAX_TENSORS, MappedTensors

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 1 << 20
MAX_INDEX_BYTES = 32 << 20
MAX_SHARDS = 10_000
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder.

    Raises:
        CheckpointError: It is missing, or a link that leads out of the folder.
    """
    path = folder / name
    try:
        real = path.resolve(strict=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except RuntimeError:
        raise CheckpointError(f"{path}: cannot be read (a link to itself)") from None
    if not real.is_relative_to(folder.resolve()):
        raise CheckpointError(
            f"{path}: is a link to {real}, outside the folder; if you trust it, copy the folder "
            f"with what it links to: cp -rL {folder} COPY"
        )
    if not real.is_file():
        raise CheckpointError(f"{path}: is not a regular file")
    return path


def read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """Return the object in a JSON file: no duplicate names, no NaN, at most ``max_bytes``.

    Raises:
        CheckpointError: The file is anything else.
    """
    with path.open("rb") as file:
        text = file.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise CheckpointError(f"{path}: is larger than {max_bytes} bytes")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not valid JSON: {error!s:.200}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: wanted a JSON object, got {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate name {name!r:.80}")
        found[name] = value
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def shard_names(folder: Path) -> dict[str, frozenset[str] | None]:
    """Return the folder's weight files, and the tensors that the index promises of each.

    A single file without an index promises nothing: ``None``.

    Raises:
        CheckpointError: There are no weights, or the index is malformed.
    """
    if (folder / WEIGHTS).exists() or (folder / WEIGHTS).is_symlink():
        return {WEIGHTS: None}
    if not (folder / INDEX).exists():
        raise CheckpointError(f"{folder}: holds neither {WEIGHTS} nor {INDEX}")
    path = inside(folder, INDEX)
    table = read_json(path, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(table, dict) or not 0 < len(table) <= MAX_TENSORS:
        raise CheckpointError(f"{path}: wanted a weight_map of 1 to {MAX_TENSORS} tensors")
    shards: dict[str, set[str]] = {}
    for tensor, file in table.items():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise CheckpointError(
                f"{path}: tensor {tensor!r:.80} lies in {file!r:.80}, wanted the plain name of a "
                ".safetensors file of the same folder"
            )
        shards.setdefault(file, set()).add(tensor)
    if len(shards) > MAX_SHARDS:
        raise CheckpointError(f"{path}: names {len(shards)} files, wanted at most {MAX_SHARDS}")
    return {file: frozenset(names) for file, names in shards.items()}


@contextmanager
def open_weights(folder: Path) -> Iterator[Mapping[str, MappedTensors]]:
    """Map all weight files of a folder; yield the file of each tensor.

    Raises:
        CheckpointError: A file is missing, invalid, or does not hold what the index says.
    """
    shards = [(inside(folder, file), names) for file, names in shard_names(folder).items()]
    with ExitStack() as stack:
        where: dict[str, MappedTensors] = {}
        for path, promised in shards:
            mapped = stack.enter_context(MappedTensors(path))
            held = frozenset(mapped.entries)
            if promised is not None and held != promised:
                missing, extra = sorted(promised - held), sorted(held - promised)
                raise CheckpointError(
                    f"{path}: holds other tensors than {INDEX} says; missing: "
                    f"{missing!s:.200}, not wanted: {extra!s:.200}"
                )
            where.update(dict.fromkeys(mapped.entries, mapped))
        yield where
