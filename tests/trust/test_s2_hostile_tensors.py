"""Promise S2: a hostile tensor file is refused by name, before memory is taken for it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlcore.errors import CheckpointError
from rlcore.tensor_file import MAX_HEADER_BYTES, load_tensors, read_header

RSS_BOUND_MB = 128

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict:
    shape = list(shape) if isinstance(shape, tuple) else shape
    offsets = list(offsets) if isinstance(offsets, tuple) else offsets
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def raw(header: bytes, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    length = len(header) if length is None else length
    return length.to_bytes(8, "little") + header + data


def of(header: Any, data: bytes = b"\0" * 8) -> bytes:
    return raw(json.dumps(header).encode(), data)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "truncated"),
    "no header": (b"\0\0\0\0", "truncated"),
    "length beyond file": (raw(b"{}", b"", length=1 << 62), "truncated"),
    "length of all ones": (b"\xff" * 16, "truncated"),
    "header over the cap": (raw(b" " * (MAX_HEADER_BYTES + 1)), "wanted at most"),
    "header not an object": (raw(b"[1, 2]"), "does not start"),
    "header not JSON": (raw(b"{'a': 1}"), "bad header"),
    "header not UTF-8": (raw(b'{"\xff": 1}'), "bad header"),
    "header cut": (raw(json.dumps(GOOD).encode()[:-5]), "bad header"),
    "number of 10,000 digits": (raw(b'{"a": ' + b"9" * 10_000 + b"}"), "bad header"),
    "deep nesting": (raw(b'{"a":' + b"[" * 100_000), "nested deeper"),
    "deep objects": (raw(b'{"a":' * 1_000_000), "nested deeper"),
    "a million lists": (raw(b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"), "over 100000 tensors"),
    "a string that never ends": (raw(b'{"' + b'\\"' * 2_000_000), "bad header"),
    "brackets in a string": (of({"[[[[{{{{": tensor("X1")}), "dtype 'X1'"),
    "unknown dtype": (of({"a": tensor("PICKLE")}), "dtype 'PICKLE'"),
    "dtype not text": (of({"a": tensor(["F32"])}), r"dtype \['F32'\]"),
    "negative size": (of({"a": tensor(shape=(-2,))}), "sizes >= 0"),
    "two negative sizes": (of({"a": tensor(shape=(-2, -1))}), "sizes >= 0"),
    "size not whole": (of({"a": tensor(shape=(2.0,))}), "sizes >= 0"),
    "size true": (of({"a": tensor(shape=(True, 2))}), "sizes >= 0"),
    "shape not a list": (of({"a": tensor(shape="2")}), "sizes >= 0"),
    "33 dimensions": (of({"a": tensor(shape=(1,) * 32 + (2,))}), "sizes >= 0"),
    "huge shape": (of({"a": tensor(shape=(1 << 40,))}), "takes 4398046511104"),
    "huge shape, matching offsets": (
        of({"a": tensor(shape=(1 << 40,), offsets=(0, 1 << 42))}),
        "the file holds 8",
    ),
    "product overflows": (of({"a": tensor(shape=(1 << 62, 4))}), "too large"),
    "zero times huge": (of({"a": tensor(shape=(0, 1 << 62), offsets=(0, 0))}), "too large"),
    "overlap": (
        of({"a": tensor(), "b": tensor(offsets=(4, 12))}, b"\0" * 12),
        "gap or overlap",
    ),
    "same bytes twice": (of({"a": tensor(), "b": tensor()}), "gap or overlap"),
    "gap": (of({"a": tensor(), "b": tensor(offsets=(12, 20))}, b"\0" * 20), "gap or overlap"),
    "data before start": (of({"a": tensor(offsets=(-8, 0))}), "wanted \\[from, to\\]"),
    "offsets reversed": (of({"a": tensor(offsets=(8, 0))}), "has -8 bytes"),
    "three offsets": (of({"a": tensor(offsets=(0, 8, 16))}), "wanted \\[from, to\\]"),
    "data cut": (of(GOOD, b"\0" * 7), "the file holds 7"),
    "data left over": (of(GOOD, b"\0" * 9), "the file holds 9"),
    "duplicate name": (
        raw(b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{}}'),
        "duplicate name 'a'",
    ),
    "extra key": (of({"a": tensor(code="import os")}), "alone"),
    "entry not an object": (of({"a": 7}), "alone"),
    "metadata of objects": (of({"__metadata__": {"a": {"b": 1}}, **GOOD}), "names to strings"),
    "boolean of 2": (
        of({"a": tensor("BOOL", (8,))}, b"\2" * 8),
        "a boolean is 2",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tensors(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert time.perf_counter() - started < 5.0


def test_the_good_file_they_are_made_from_loads(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(of(GOOD))
    assert load_tensors(tmp_path / "x")["a"].tolist() == [0.0, 0.0]


def test_extra_names_are_refused_before_their_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(of({"a": tensor(), "evil": tensor(offsets=(8, 16))}, b"\0" * 16))
    with pytest.raises(CheckpointError, match=r"not wanted: \['evil'\]"):
        load_tensors(tmp_path / "x", expected=["a"])


def test_a_file_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 43)  # takes no disk
    with pytest.raises(CheckpointError, match="has 8796093022208 bytes, wanted at most"):
        load_tensors(path)
    (tmp_path / "x").write_bytes(of(GOOD))
    with pytest.raises(CheckpointError, match="wanted at most 16"):
        read_header(tmp_path / "x", max_bytes=16)


def test_pipes_folders_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="is not a regular file"):
            load_tensors(path)
    with pytest.raises(CheckpointError, match="No such file"):
        load_tensors(tmp_path / "nothing")


CHILD = """
import sys
from pathlib import Path
from rlcore.tensor_file import load_arrays
from rlcore.errors import CheckpointError

for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_arrays(path)
    except CheckpointError:
        continue
    sys.exit(f"{path} was accepted")
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def test_refusing_all_of_them_takes_little_memory(tmp_path: Path, repo_root: Path) -> None:
    for index, (content, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{index:03d}").write_bytes(content)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < RSS_BOUND_MB, done.stdout
