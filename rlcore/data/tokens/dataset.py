"""A token data set: a folder with an index, one token file a split, and the tokenizer that made it.

``index.json`` names the vocabulary, its special tokens and, for each split, the file with its size
and checksum. Nothing in the folder is executed, and no path in the index leads out of it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlcore.data.tokens.file import FileRecord, TokenFile, token_dtype
from rlcore.errors import DataError

INDEX_FILE = "index.json"
FORMAT = "rlcore.tokens"
FORMAT_VERSION = 1
TRAIN, HELD_OUT = "train", "val"
MAX_INDEX_BYTES = 1 << 20
_SPLIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DatasetIndex:
    """What ``index.json`` says.

    Attributes:
        vocab_size: Number of token ids.
        splits: Token files by split, ``train`` and ``val``.
        eos_id: Token that ends a document or a response, if there is one.
        mask_id: Token that stands for a hidden one, if there is one.
        tokenizer: Folder of the tokenizer beside the index, if there is one.
    """

    vocab_size: int
    splits: dict[str, FileRecord] = field(default_factory=dict)
    eos_id: int | None = None
    mask_id: int | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        token_dtype(self.vocab_size)
        for name in ("eos_id", "mask_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise DataError(f"{name} must be in [0, {self.vocab_size}), got {value}")

    @property
    def fingerprint(self) -> str:
        """Checksums of all splits: two data sets of one fingerprint hold the same tokens."""
        return "-".join(self.splits[name].sha256[:16] for name in sorted(self.splits))


def split_file(folder: str | Path, split: str) -> Path:
    """Return the path of a split's token file."""
    if not _SPLIT.fullmatch(split):
        raise DataError(f"a split is named in lower-case letters, got {split!r:.80}")
    return Path(folder) / f"{split}.tokens"


def write_index(folder: str | Path, index: DatasetIndex) -> None:
    """Write ``index.json``, whole or not at all; written last, it makes the folder a data set."""
    values = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(index)}
    path = Path(folder) / INDEX_FILE
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(values, indent=1) + "\n")
    os.replace(part, path)


def read_index(folder: str | Path) -> DatasetIndex:
    """Return the index of a data set.

    Raises:
        DataError: There is none, it is damaged, or it is of a newer format.
    """
    path = Path(folder) / INDEX_FILE
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{folder}: no token data set ({INDEX_FILE}: {error.strerror}); make one with: "
            f"rlcore data tokenize FILE --out {folder}"
        ) from None
    try:
        if len(raw) > MAX_INDEX_BYTES:
            raise ValueError(f"over {MAX_INDEX_BYTES} bytes")
        return _parse(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from None


def _parse(values: Any) -> DatasetIndex:
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise DataError(f"not the index of a token data set: wanted format {FORMAT!r}")
    version = values.pop("version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise DataError(f"format version {version!r:.20}; this release reads {FORMAT_VERSION}")
    known = {"vocab_size", "splits", "eos_id", "mask_id", "tokenizer"}
    if set(values) != known:
        odd = ", ".join(sorted(set(values) ^ known))
        raise DataError(f"missing or unknown: {odd:.200}")
    for name in ("vocab_size", "eos_id", "mask_id"):
        if not _is_count(values[name]) and (name == "vocab_size" or values[name] is not None):
            raise DataError(f"{name} must be a whole number, got {values[name]!r:.40}")
    tokenizer = values["tokenizer"]
    if tokenizer is not None and not (isinstance(tokenizer, str) and _SPLIT.fullmatch(tokenizer)):
        raise DataError(f"tokenizer must be a folder beside the index, got {tokenizer!r:.80}")
    if not isinstance(values["splits"], dict) or TRAIN not in values["splits"]:
        raise DataError(f"there is no split {TRAIN!r}")
    splits = {name: _record(name, value) for name, value in values.pop("splits").items()}
    return DatasetIndex(splits=splits, **values)


def _record(name: str, value: Any) -> FileRecord:
    if not _SPLIT.fullmatch(name):
        raise DataError(f"a split is named in lower-case letters, got {name!r:.80}")
    fields = {"bytes", "sha256", "tokens", "documents"}
    if not isinstance(value, dict) or set(value) != fields:
        raise DataError(f"split {name!r} must have {', '.join(sorted(fields))}")
    if not isinstance(value["sha256"], str) or not _SHA256.fullmatch(value["sha256"]):
        raise DataError(f"split {name!r}: sha256 must be 64 hexadecimal digits")
    for key in fields - {"sha256"}:
        if not _is_count(value[key]):
            raise DataError(f"split {name!r}: {key} must be a whole number")
    return FileRecord(**value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


@dataclass(frozen=True, slots=True)
class TokenDataset:
    """An opened data set.

    Attributes:
        folder: Where it lies.
        index: What its index says.
    """

    folder: Path
    index: DatasetIndex

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> TokenDataset:
        """Open a data set; ``verify`` reads all of it and compares checksums.

        Raises:
            DataError: Something is missing or damaged.
        """
        dataset = cls(Path(folder), read_index(folder))
        for split in dataset.index.splits:
            file = dataset.split(split)
            if verify:
                file.verify(dataset.index.splits[split], dataset.index.vocab_size)
        return dataset

    def split(self, name: str) -> TokenFile:
        """Return the token file of a split.

        Raises:
            DataError: There is no such split.
        """
        if name not in self.index.splits:
            raise DataError(
                f"{self.folder}: no split {name!r}; there are {', '.join(self.index.splits)}"
            )
        return TokenFile(split_file(self.folder, name))
