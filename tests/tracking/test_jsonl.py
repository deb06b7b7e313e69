"""JSON lines: valid whatever the numbers, and readable after a writer was killed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import RunFolderError
from rlcore.tracking.jsonl import JsonlWriter, decode, encode, read_jsonl

NUMBERS = st.one_of(st.floats(), st.integers(-(2**53), 2**53))


def same(a: object, b: object) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return both_nan or a == b


@given(st.dictionaries(st.text(max_size=8), NUMBERS, max_size=6))
def test_records_survive_strict_json(record: dict[str, float]) -> None:
    text = json.dumps(encode(record), allow_nan=False)
    back = decode(json.loads(text))
    assert back.keys() == record.keys()
    assert all(same(back[key], record[key]) for key in record)


def test_non_finite_numbers_are_strings_on_disk_and_floats_when_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = JsonlWriter(path)
    writer.write({"a": math.nan, "b": math.inf, "c": -math.inf, "d": [math.nan]})
    writer.close()
    assert json.loads(path.read_text()) == {
        "a": "NaN", "b": "Infinity", "c": "-Infinity", "d": ["NaN"],
    }  # fmt: skip
    (record,) = read_jsonl(path)
    assert math.isnan(record["a"])
    assert (record["b"], record["c"]) == (math.inf, -math.inf)
    assert math.isnan(record["d"][0])


def test_numpy_numbers_and_other_objects_are_written(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "x.jsonl")
    writer.write({"f": np.float32(0.5), "i": np.int64(3), "b": True, "n": None, "p": Path("a/b")})
    writer.close()
    assert read_jsonl(tmp_path / "x.jsonl") == [
        {"f": 0.5, "i": 3, "b": True, "n": None, "p": "a/b"}
    ]


def test_each_record_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path / "x.jsonl")
    for index in range(3):
        writer.write({"i": index})
        assert len(read_jsonl(tmp_path / "x.jsonl")) == index + 1
    writer.close()
    writer.close()


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_every_cut_of_the_last_line_is_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    whole = b'{"a": 1}\n{"b": "\xc3\xbc", "c": 1.5}\n'
    for cut in range(len(b'{"a": 1}\n'), len(whole)):
        path.write_bytes(whole[:cut])
        records = read_jsonl(path)
        assert records[0] == {"a": 1}
        # Only the newline is missing in the longest cut: the record itself is complete.
        assert len(records) == (2 if cut == len(whole) - 1 else 1)


def test_a_bad_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"b": \n{"c": 1}\n')
    with pytest.raises(RunFolderError, match=r"x\.jsonl:2: not a JSON object"):
        read_jsonl(path)
    path.write_text('[1]\n{"c": 1}\n')
    with pytest.raises(RunFolderError, match=r":1: not a JSON object"):
        read_jsonl(path)


@pytest.mark.parametrize("kept", [b"", b'{"a": 1}\n', b'{"a": "' + b"x" * 200_000 + b'"}\n'])
def test_a_writer_cuts_the_partial_line_that_it_finds(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(kept + b'{"half": ')
    writer = JsonlWriter(path)
    writer.write({"z": 2})
    writer.close()
    assert path.read_bytes() == kept + b'{"z": 2}\n'


def test_a_writer_keeps_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n')
    JsonlWriter(path).close()
    assert path.read_text() == '{"a": 1}\n'


def test_a_failed_write_leaves_nothing_of_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    writer = JsonlWriter(path)
    writer.write({"a": 1})
    real, calls = os.write, []

    def half_then_full(fd: int, data: bytes) -> int:
        if fd != writer._fd:
            return real(fd, data)
        calls.append(len(data))
        if len(calls) == 1:
            return real(fd, data[:4])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        writer.write({"b": 2})
    monkeypatch.undo()
    assert path.read_text() == '{"a": 1}\n'
    writer.write({"c": 3})
    writer.close()
    assert read_jsonl(path) == [{"a": 1}, {"c": 3}]
