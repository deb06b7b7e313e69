"""Named tensors in a file, in the safetensors format: eight bytes of length, a JSON header, data.

Nothing in a file is believed before it is checked: the header must be small, flat and complete, and
its tensors must tile the data exactly. Only then is memory allocated, for at most what the file
really holds. Files are the same, byte for byte, as those of the ``safetensors`` package.

This module needs NumPy alone; torch is imported where tensors of it are asked for or handed in.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rlcore.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, "Tensor | NDArray[Any]"]

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 32
CHUNK = 1 << 20
MAX_ELEMENTS = 1 << 48
_DEPTH = 3
# A string, so that brackets in it do not count (one that never ends is one match, not many), or a
# bracket.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)
_METADATA = "__metadata__"

# Code in the file: (bytes an element, NumPy name or None, torch name). The order is the package's:
# tensors are stored by falling position in it, then by name, so that all are aligned.
_DTYPES: dict[str, tuple[int, str | None, str]] = {
    "BOOL": (1, "bool", "bool"),
    "U8": (1, "uint8", "uint8"),
    "I8": (1, "int8", "int8"),
    "F8_E5M2": (1, None, "float8_e5m2"),
    "F8_E4M3": (1, None, "float8_e4m3fn"),
    "I16": (2, "int16", "int16"),
    "U16": (2, "uint16", "uint16"),
    "F16": (2, "float16", "float16"),
    "BF16": (2, None, "bfloat16"),
    "I32": (4, "int32", "int32"),
    "U32": (4, "uint32", "uint32"),
    "F32": (4, "float32", "float32"),
    "F64": (8, "float64", "float64"),
    "I64": (8, "int64", "int64"),
    "U64": (8, "uint64", "uint64"),
}
_CODE_OF = {name: code for code, (_, _, name) in _DTYPES.items()}
_RANK = {code: rank for rank, code in enumerate(_DTYPES)}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        dtype: Code of the element type, for example ``"F32"``.
        shape: Its sizes; ``()`` for a scalar.
        start: First byte, from the start of the file.
        nbytes: Bytes it takes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def save_tensors(
    path: str | Path, tensors: Arrays, metadata: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Write named tensors to a file and bring it to the disk.

    Tensors are written one after the other: at most one of them is copied at a time (to the host,
    or to be contiguous).

    Args:
        path: The file; what it held before is lost.
        tensors: By name; torch tensors or NumPy arrays.
        metadata: Further strings to keep in the header.

    Returns:
        The file's size in bytes and its SHA-256 in hex.

    Raises:
        CheckpointError: An element type cannot be stored.
        OSError: The disk is full, read-only, ...
    """
    order = sorted(tensors, key=lambda name: (-_RANK[_code(name, tensors[name])], name))
    header, end = memoryview(_header(tensors, order, metadata)), 0
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for part in chain((header,), (_bytes_of(tensors[name]) for name in order)):
            digest.update(part)
            file.write(part)
            end += len(part)
        file.flush()
        os.fsync(file.fileno())
    return end, digest.hexdigest()


def _header(tensors: Arrays, order: list[str], metadata: Mapping[str, str] | None) -> bytes:
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    offset = 0
    for name in order:
        code, shape = _code(name, tensors[name]), [int(size) for size in tensors[name].shape]
        end = offset + math.prod(shape) * _DTYPES[code][0]
        entries[name] = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES or len(order) > MAX_TENSORS:
        raise CheckpointError(
            f"{len(order)} tensors are too many for one file: wanted at most {MAX_TENSORS} and a "
            f"header of at most {MAX_HEADER_BYTES} bytes, got {len(text)}"
        )
    return len(text).to_bytes(8, "little") + text


def _code(name: str, tensor: Tensor | NDArray[Any]) -> str:
    kind = str(tensor.dtype.name if isinstance(tensor, np.ndarray | np.generic) else tensor.dtype)
    kind = kind.removeprefix("torch.")
    if kind not in _CODE_OF or name == _METADATA:
        raise CheckpointError(f"tensor {name!r} of type {kind} cannot be stored")
    return _CODE_OF[kind]


def _bytes_of(tensor: Tensor | NDArray[Any]) -> memoryview:
    if isinstance(tensor, np.ndarray | np.generic):
        array = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        return array.reshape(-1).view(np.uint8).data
    import torch

    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def read_header(path: str | Path, max_bytes: int | None = None) -> dict[str, TensorEntry]:
    """Return what tensors a file holds, after checking all that its header says.

    Args:
        path: The file.
        max_bytes: Largest file to accept; by default the machine's memory.

    Raises:
        CheckpointError: The file is missing, not regular, too large, or not a valid tensor file.
    """
    with _open(Path(path)) as file:
        return _read_header(file, Path(path), max_bytes)


def _open(path: Path) -> BinaryIO:
    try:
        # Not blocking: a pipe in the place of a file must not hang the reader.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if not os.path.isfile(fd):
        os.close(fd)
        raise CheckpointError(f"{path}: is not a regular file")
    return os.fdopen(fd, "rb")


def _read_header(file: BinaryIO, path: Path, max_bytes: int | None) -> dict[str, TensorEntry]:
    size = os.fstat(file.fileno()).st_size
    limit = _memory_bytes() if max_bytes is None else max_bytes
    if size > limit:
        raise CheckpointError(f"{path}: has {size} bytes, wanted at most {limit}")
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise CheckpointError(f"{path}: truncated: {size} bytes for a header of {length}")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: header of {length} bytes, wanted at most {MAX_HEADER_BYTES}"
        )
    try:
        return _entries(_parse(file.read(length)), 8 + length, size)
    except ValueError as error:
        raise CheckpointError(f"{path}: bad header: {error}") from None


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise ValueError("it does not start with '{'")
    # Nesting is bounded before the parser runs: it would build every list that the text spells.
    depth = opened = 0
    for match in _BRACKETS.finditer(text):
        bracket = match[0]
        if bracket in b"[{":
            depth, opened = depth + 1, opened + 1
        elif bracket in b"]}":
            depth -= 1
        if depth > _DEPTH or opened > 3 * MAX_TENSORS + 2:
            raise ValueError(f"nested deeper than {_DEPTH} or over {MAX_TENSORS} tensors")
    header: dict[str, Any] = json.loads(text.decode(), object_pairs_hook=_unique)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate name {next(n for n in names if names.count(n) > 1)!r:.80}")
    return found


def _entries(header: dict[str, Any], data: int, size: int) -> dict[str, TensorEntry]:
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"{_METADATA} must map names to strings")
    entries = {name: _entry(name, value, data) for name, value in header.items()}
    at = data
    for name, entry in sorted(entries.items(), key=lambda i: (i[1].start, i[1].nbytes)):
        if entry.start != at:
            raise ValueError(
                f"tensor {name!r:.80} starts at byte {entry.start - data} of the data, wanted "
                f"{at - data}: tensors must follow each other without gap or overlap"
            )
        at += entry.nbytes
    if at != size:
        raise ValueError(f"its tensors take {at - data} bytes, the file holds {size - data}")
    return entries


def _entry(name: str, value: Any, data: int) -> TensorEntry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r:.80} must have dtype, shape and data_offsets alone")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(
            f"tensor {name!r:.80} has dtype {dtype!r:.40}; known: {', '.join(_DTYPES)}"
        )
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"tensor {name!r:.80} has shape {shape!r:.80}, wanted sizes >= 0")
    if math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
        raise ValueError(f"tensor {name!r:.80} has shape {shape!r:.80}, too large for any memory")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r:.80} has data_offsets {offsets!r:.80}, wanted [from, to]")
    wanted = math.prod(shape) * _DTYPES[dtype][0]
    if offsets[1] - offsets[0] != wanted:
        raise ValueError(
            f"tensor {name!r:.80} has {offsets[1] - offsets[0]} bytes; {dtype} of shape "
            f"{shape!r:.80} takes {wanted}"
        )
    return TensorEntry(dtype, tuple(shape), data + offsets[0], wanted)


def _sizes(value: Any) -> bool:
    # ``type``, for a bool is an int; the bound keeps products small enough to print.
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in value)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def load_tensors(
    path: str | Path,
    expected: Iterable[str] | None = None,
    max_bytes: int | None = None,
) -> dict[str, Tensor]:
    """Read all tensors of a file into memory of their own, on the CPU.

    Args:
        path: The file.
        expected: The names it must hold, no less and no more; any if ``None``.
        max_bytes: Largest file to accept; by default the machine's memory.

    Raises:
        CheckpointError: The file is missing or invalid, or its names are not the expected ones.
    """
    import torch

    tensors = {}
    with _open(Path(path)) as file:
        for name, entry in _checked(file, Path(path), expected, max_bytes).items():
            dtype: torch.dtype = getattr(torch, _DTYPES[entry.dtype][2])
            tensor = torch.empty(entry.shape, dtype=dtype)
            if entry.nbytes:
                _fill(file, entry, tensor.reshape(-1).view(torch.uint8).numpy(), path)
            tensors[name] = tensor
    return tensors


class MappedTensors:
    """The tensors of a file as views of its mapped bytes: nothing is read before it is used.

    The views must not outlive the object. Writing into one changes the view alone.

    Args:
        path: The file.
        max_bytes: Largest file to accept; by default the machine's memory.

    Attributes:
        entries: What the file holds, by name.

    Raises:
        CheckpointError: The file is missing or invalid.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        self.path = Path(path)
        with _open(self.path) as file:
            self.entries = _read_header(file, self.path, max_bytes)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def __enter__(self) -> MappedTensors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._map.close()
        except BufferError:
            # A view is still referred to, for one by the traceback of an error: the mapping is
            # freed with it.
            pass

    def view(self, name: str) -> Tensor:
        """Return one tensor on the CPU, without copying it."""
        import torch

        entry = self.entries[name]
        dtype: torch.dtype = getattr(torch, _DTYPES[entry.dtype][2])
        if not entry.nbytes:
            return torch.empty(entry.shape, dtype=dtype)
        raw = torch.from_numpy(np.frombuffer(self._map, np.uint8, entry.nbytes, entry.start))
        if entry.start % _DTYPES[entry.dtype][0]:
            raw = raw.clone()  # a foreign writer need not align
        return raw.view(dtype).view(entry.shape)

    def release(self, name: str) -> None:
        """Give back the memory that reading a tensor took; the file keeps its bytes."""
        entry = self.entries[name]
        # Whole pages inside the tensor: its neighbours may be in use.
        start = -(-entry.start // mmap.PAGESIZE) * mmap.PAGESIZE
        length = entry.start + entry.nbytes - start
        if length > 0:
            self._map.madvise(mmap.MADV_DONTNEED, start, length)


def load_arrays(
    path: str | Path,
    expected: Iterable[str] | None = None,
    max_bytes: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Read all tensors of a file as NumPy arrays, without torch.

    Arguments as for :func:`load_tensors`.

    Raises:
        CheckpointError: As there, or NumPy lacks an element type (bfloat16, float8).
    """
    arrays: dict[str, NDArray[Any]] = {}
    with _open(Path(path)) as file:
        for name, entry in _checked(file, Path(path), expected, max_bytes).items():
            kind = _DTYPES[entry.dtype][1]
            if kind is None:
                raise CheckpointError(f"{path}: NumPy has no {entry.dtype} (tensor {name!r:.80})")
            array = np.empty(entry.shape, np.dtype(kind).newbyteorder("<"))
            if entry.nbytes:
                _fill(file, entry, array.reshape(-1).view(np.uint8), path)
            arrays[name] = array
    return arrays


def _checked(
    file: BinaryIO, path: Path, expected: Iterable[str] | None, max_bytes: int | None
) -> dict[str, TensorEntry]:
    entries = _read_header(file, path, max_bytes)
    if expected is not None and set(entries) != (wanted := set(expected)):
        missing, extra = sorted(wanted - set(entries)), sorted(set(entries) - wanted)
        raise CheckpointError(
            f"{path}: tensors missing: {missing!s:.200}, not wanted: {extra!s:.200}"
        )
    return entries


def _fill(file: BinaryIO, entry: TensorEntry, target: NDArray[np.uint8], path: str | Path) -> None:
    file.seek(entry.start)
    view, done = target.data, 0
    while done < entry.nbytes:
        got = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise CheckpointError(f"{path}: ended while it was being read")
        done += got
    if entry.dtype == "BOOL" and target.max() > 1:
        raise CheckpointError(f"{path}: a boolean is {target.max()}, wanted 0 or 1")
