"""Batches whose update was left out for a non-finite loss or gradient, kept to be looked at.

A file pair in the run's ``debug`` folder: the arrays as safetensors, and what was not finite as
JSON. Both hold numbers alone. Keeping them is a diagnosis: it is bounded in size, number and rate,
and whatever goes wrong with it is reported and changes nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rlcore.learners.nonfinite import BadUpdate
from rlcore.tensor_file import save_tensors

FOLDER = "debug"
KEEP = 4
MAX_BYTES = 64 << 20
EVERY_S = 1.0
Emit = Callable[..., None]


class BadBatches:
    """Writes bad updates down; give it to a learner as ``keep_bad``.

    Args:
        run_dir: The run's folder.
        writer: Who writes, for the names of the files.
        emit: Receives ``emit("bad_batch", ...)`` for each that was written, and a warning for the
            first that was, or could not be.
        keep: Newest updates that stay, whoever wrote them.
        max_bytes: Bytes of arrays of one update; the largest arrays are left out, and named.
        every_s: Of updates closer together than this only the first is written: in a series it is
            the one with the cause.
        clock: Monotonic seconds.

    Attributes:
        seen: Bad updates so far.
        written: Of those, the ones written down.
    """

    def __init__(
        self,
        run_dir: str | Path,
        writer: str,
        emit: Emit,
        *,
        keep: int = KEEP,
        max_bytes: int = MAX_BYTES,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = Path(run_dir) / FOLDER
        self.seen = self.written = 0
        self._writer, self._emit = writer, emit
        self._keep, self._max_bytes, self._every_s = keep, max_bytes, every_s
        self._clock = clock
        self._last = -math.inf
        self._told: set[bool] = set()

    def __call__(self, bad: BadUpdate) -> None:
        """Write ``bad`` down if it is not too close to the last one; never raises."""
        self.seen += 1
        if self._clock() - self._last < self._every_s:
            return
        self._last = self._clock()
        # The isolation boundary: a full disk, or a batch of unforeseen contents, may cost the
        # diagnosis and nothing else. The first failure is reported.
        try:
            path = self._write(bad)
        except Exception as error:
            self._warn_once(False, f"was not kept in {self.folder}: {error}")
            return
        self.written += 1
        names = [tensor.name for tensor in bad.tensors]
        found = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        self._warn_once(True, f"is kept in {path} (not finite: {found})")
        self._emit("bad_batch", path=str(path), nonfinite=names, seen=self.seen)

    def _warn_once(self, kept: bool, what: str) -> None:
        if kept not in self._told:
            self._told.add(kept)
            self._emit("warning", message=f"a batch with a non-finite loss or gradient {what}")

    def _write(self, bad: BadUpdate) -> Path:
        self.folder.mkdir(exist_ok=True)
        stem = f"version-{bad.version:012d}-{self._writer}-{self.seen:06d}"
        path = self.folder / f"{stem}.json"
        tensors, values = _leaves(bad.batches)
        stored, left_out = _within(tensors, self._max_bytes)
        description = {
            "version": bad.version,
            "loss": _number(bad.loss),
            "grad_norm": _number(bad.grad_norm),
            "nonfinite": [dataclasses.asdict(tensor) for tensor in bad.tensors],
            "arrays": f"{stem}.safetensors",
            "arrays_left_out": left_out,
            "values": values,
            "bad_updates_so_far": self.seen,
        }
        arrays = path.with_suffix(".safetensors")
        self._replace(arrays, lambda part: save_tensors(part, stored))
        try:
            text = json.dumps(description, indent=1)
            self._replace(path, lambda part: part.write_text(text + "\n"))
        except OSError:
            arrays.unlink(missing_ok=True)  # without its description it would not be found
            raise
        self._prune()
        return path

    def _replace(self, path: Path, write: Callable[[Path], Any]) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(part)
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _prune(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # another worker has pruned meanwhile
            files = [(f.stat().st_mtime_ns, f.name, f) for f in self.folder.glob("version-*.json")]
            for _, _, file in sorted(files)[: -self._keep]:
                file.unlink()
                file.with_suffix(".safetensors").unlink()


def _leaves(batches: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the numbers of nested batches by path; of other leaves, their type."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, Tensor):
            tensors[path] = value
        elif isinstance(value, Mapping):
            for key, part in value.items():
                visit(part, f"{path}/{key}" if path else str(key))
        elif isinstance(value, list | tuple):
            for index, part in enumerate(value):
                visit(part, f"{path}/{index}" if path else str(index))
        elif value is None or isinstance(value, bool | int | float):
            values[path] = _number(value) if isinstance(value, float) else value
        else:
            values[path] = f"({type(value).__name__})"

    visit(batches[0] if len(batches) == 1 else batches, "")
    return tensors, values


def _within(
    tensors: Mapping[str, Tensor], max_bytes: int
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return what fits into ``max_bytes``, smallest first, and the sizes of what does not."""
    sizes = {name: t.numel() * t.element_size() for name, t in tensors.items()}
    stored, left_out, total = {}, {}, 0
    for name in sorted(tensors, key=lambda name: (sizes[name], name)):
        total += sizes[name]
        if total <= max_bytes:
            stored[name] = tensors[name]
        else:
            left_out[name] = sizes[name]
    return stored, left_out


def _number(value: float) -> float | str:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else str(value)
