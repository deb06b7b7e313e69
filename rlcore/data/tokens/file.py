"""The token file: all tokens of one split, the documents' borders and the lengths of their prompts.

It is a tensor file (the safetensors format) with three tensors: ``tokens`` (uint16 or uint32),
``offsets`` (uint64, one more than documents) and ``prompts`` (uint32, 0 where there is none).
Tokens are mapped into memory, never read as a whole; borders are checked before they are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlcore.errors import CheckpointError, DataError
from rlcore.tensor_file import TensorEntry, read_header, save_tensors

MAX_BYTES = 1 << 46
MAX_VOCABULARY = 1 << 32
_NAMES = ("tokens", "offsets", "prompts")
_DTYPES = {"U16": "<u2", "U32": "<u4", "U64": "<u8"}
_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What is known of a token file from outside.

    Attributes:
        bytes: Its size.
        sha256: Its checksum, in hex.
        tokens: Tokens in all documents.
        documents: Documents.
    """

    bytes: int
    sha256: str
    tokens: int
    documents: int


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest of uint16 and uint32 that holds ids below ``vocab_size``.

    Raises:
        DataError: Neither does, or there is no id at all.
    """
    if not 1 <= vocab_size <= MAX_VOCABULARY:
        raise DataError(f"a vocabulary has 1 to {MAX_VOCABULARY} tokens, got {vocab_size}")
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class TokenWriter:
    """Writes a token file document by document, in bounded memory; whole or not at all.

    Use it in a ``with`` block; the file appears when :meth:`finish` is called.

    Args:
        path: The file to make.
        vocab_size: Ids must be below it.
    """

    def __init__(self, path: str | Path, vocab_size: int) -> None:
        self.path = Path(path)
        self.vocab_size = vocab_size
        self._dtype = token_dtype(vocab_size)
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._file = open(self._part, "wb")  # noqa: SIM115 - closed by __exit__
        self._lengths: list[int] = []
        self._prompts: list[int] = []

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        for left in (self._part, self._staged()):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()

    def add(self, tokens: Sequence[int] | NDArray[Any], prompt: int = 0) -> None:
        """Append a document whose first ``prompt`` tokens are context and no target.

        Raises:
            DataError: It is empty, an id is out of range, or nothing follows the prompt.
        """
        ids = np.asarray(tokens)
        number = len(self._lengths)
        if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
            raise DataError(
                f"document {number} must be a list of one or more token ids, got shape {ids.shape} "
                f"of {ids.dtype}"
            )
        if not 0 <= prompt < len(ids):
            raise DataError(
                f"document {number}: a prompt of {prompt} in {len(ids)} tokens leaves no target"
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocab_size:
            raise DataError(
                f"document {number}: token ids must be in [0, {self.vocab_size}), got "
                f"{low if low < 0 else high}"
            )
        self._file.write(np.ascontiguousarray(ids, self._dtype).tobytes())
        self._lengths.append(len(ids))
        self._prompts.append(prompt)

    def finish(self) -> FileRecord:
        """Bring the file to the disk and return its record.

        Raises:
            DataError: No document was added.
        """
        if not self._lengths:
            raise DataError(f"{self.path}: no document was written")
        self._file.close()
        tokens = np.memmap(self._part, self._dtype, "r")
        offsets = np.concatenate([[0], np.cumsum(self._lengths)]).astype("<u8")
        arrays = {"tokens": tokens, "offsets": offsets, "prompts": np.array(self._prompts, "<u4")}
        size, digest = save_tensors(self._staged(), arrays)
        os.replace(self._staged(), self.path)
        return FileRecord(size, digest, len(tokens), len(self._lengths))

    def _staged(self) -> Path:
        return self._part.with_suffix(".tmp")


class TokenFile:
    """A token file, mapped into memory.

    Args:
        path: The file.

    Attributes:
        tokens: ``[N]`` uint16 or uint32, on disk.
        offsets: ``[documents + 1]`` int64: document ``i`` is ``tokens[offsets[i]:offsets[i+1]]``.
        prompts: ``[documents]`` int64.

    Raises:
        DataError: It is missing, short, damaged or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        entries = _entries(self.path)
        self.tokens = _mapped(self.path, entries["tokens"])
        self.offsets = np.array(_mapped(self.path, entries["offsets"]), np.int64)
        self.prompts = np.array(_mapped(self.path, entries["prompts"]), np.int64)
        self._check()

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[documents]`` tokens in each."""
        return np.diff(self.offsets)

    def document(self, index: int) -> NDArray[Any]:
        """Return the tokens of one document, prompt included."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def _check(self) -> None:
        offsets, count = self.offsets, len(self.tokens)
        if len(offsets) != len(self.prompts) + 1 or not len(self.prompts):
            raise DataError(
                f"{self.path}: {len(offsets)} borders for {len(self.prompts)} documents; wanted "
                "one border more than documents, and a document"
            )
        if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) <= 0).any():
            raise DataError(
                f"{self.path}: borders of documents must rise from 0 to the {count} tokens"
            )
        if (self.prompts >= self.lengths).any():
            index = int(np.argmax(self.prompts >= self.lengths))
            raise DataError(
                f"{self.path}: document {index} has a prompt of {self.prompts[index]} in "
                f"{self.lengths[index]} tokens"
            )

    def verify(self, record: FileRecord, vocab_size: int) -> None:
        """Read the whole file and compare it with its record.

        Raises:
            DataError: Its size or checksum is another one, or an id is not below ``vocab_size``.
        """
        size = self.path.stat().st_size
        if (size, len(self.tokens), len(self)) != (record.bytes, record.tokens, record.documents):
            raise DataError(
                f"{self.path}: {size} bytes, {len(self.tokens)} tokens, {len(self)} documents; the "
                f"index says {record.bytes}, {record.tokens}, {record.documents}"
            )
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != record.sha256:
            raise DataError(
                f"{self.path}: checksum {digest[:16]}..., the index says {record.sha256[:16]}...: "
                "the file was damaged or replaced"
            )
        for start in range(0, len(self.tokens), _CHUNK):
            largest = int(self.tokens[start : start + _CHUNK].max())
            if largest >= vocab_size:
                raise DataError(
                    f"{self.path}: token id {largest}; the vocabulary has {vocab_size} tokens"
                )


def _entries(path: Path) -> dict[str, TensorEntry]:
    try:
        entries = read_header(path, MAX_BYTES)
    except CheckpointError as error:
        raise DataError(f"not a token file: {error}") from None
    if set(entries) != set(_NAMES):
        raise DataError(
            f"{path}: holds {', '.join(sorted(entries)) or 'nothing'}; a token file holds "
            f"{', '.join(_NAMES)}"
        )
    wanted = {"tokens": ("U16", "U32"), "offsets": ("U64",), "prompts": ("U32",)}
    for name, entry in entries.items():
        if entry.dtype not in wanted[name] or len(entry.shape) != 1:
            raise DataError(
                f"{path}: {name} is {entry.dtype} of shape {list(entry.shape)}; wanted a vector of "
                f"{' or '.join(wanted[name])}"
            )
    return entries


def _mapped(path: Path, entry: TensorEntry) -> NDArray[Any]:
    dtype = np.dtype(_DTYPES[entry.dtype])
    if not entry.nbytes:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r", entry.start, entry.shape)
