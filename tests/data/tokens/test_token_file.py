"""The token file and its index: what is written is read back; anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.data.tokens.dataset import (
    DatasetIndex,
    TokenDataset,
    read_index,
    split_file,
    write_index,
)
from rlcore.data.tokens.file import FileRecord, TokenFile, TokenWriter, token_dtype
from rlcore.errors import DataError
from rlcore.tensor_file import save_tensors

Documents = list[tuple[list[int], int]]


def write(path: Path, documents: Documents, vocab: int = 100) -> FileRecord:
    with TokenWriter(path, vocab) as writer:
        for tokens, prompt in documents:
            writer.add(tokens, prompt)
        return writer.finish()


def make_dataset(folder: Path, documents: Documents, vocab: int = 100) -> DatasetIndex:
    record = write(split_file(folder, "train"), documents, vocab)
    index = DatasetIndex(vocab, {"train": record}, eos_id=0)
    write_index(folder, index)
    return index


documents_strategy = st.lists(
    st.lists(st.integers(0, 99), min_size=1, max_size=9).flatmap(
        lambda d: st.tuples(st.just(d), st.integers(0, len(d) - 1))
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25)
@given(documents_strategy)
def test_documents_and_prompts_come_back(tmp_path_factory, documents: Documents) -> None:
    path = tmp_path_factory.mktemp("tokens") / "a.tokens"
    record = write(path, documents)
    file = TokenFile(path)
    assert [(file.document(i).tolist(), int(file.prompts[i])) for i in range(len(file))] == [
        (list(tokens), prompt) for tokens, prompt in documents
    ]
    assert record.tokens == sum(len(tokens) for tokens, _ in documents)
    assert record.documents == len(documents) == len(file)
    assert file.lengths.tolist() == [len(tokens) for tokens, _ in documents]
    file.verify(record, 100)
    assert [p.name for p in path.parent.iterdir()] == ["a.tokens"]  # nothing is left beside it


@pytest.mark.parametrize(
    ("vocab", "name"), [(1, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (1 << 32, "uint32")]
)
def test_the_smallest_type_that_holds_the_vocabulary(tmp_path: Path, vocab: int, name: str) -> None:
    assert token_dtype(vocab).name == name
    write(tmp_path / "a.tokens", [([vocab - 1, 0], 0)], vocab)
    file = TokenFile(tmp_path / "a.tokens")
    assert file.tokens.dtype.name == name
    assert file.document(0).tolist() == [vocab - 1, 0]
    assert isinstance(file.tokens, np.memmap)


@pytest.mark.parametrize("vocab", [0, -1, (1 << 32) + 1])
def test_impossible_vocabularies(tmp_path: Path, vocab: int) -> None:
    with pytest.raises(DataError, match=str(vocab)):
        TokenWriter(tmp_path / "a", vocab)


@pytest.mark.parametrize(
    ("tokens", "prompt", "message"),
    [
        ([], 0, "document 1 must be a list of one or more"),
        ([[1]], 0, "got shape"),
        ([0.5], 0, "float64"),
        ([100], 0, r"\[0, 100\), got 100"),
        ([5, -1], 0, "got -1"),
        ([1, 2], 2, "prompt of 2 in 2 tokens leaves no target"),
        ([1, 2], -1, "prompt of -1"),
    ],
)
def test_bad_documents_are_refused(tmp_path: Path, tokens, prompt, message: str) -> None:
    with TokenWriter(tmp_path / "a.tokens", 100) as writer:
        writer.add([1])
        with pytest.raises(DataError, match=message):
            writer.add(tokens, prompt)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_or_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with TokenWriter(tmp_path / "a.tokens", 9) as writer, pytest.raises(DataError, match="no doc"):
        writer.finish()
    with pytest.raises(DataError, match="got 9"), TokenWriter(tmp_path / "a.tokens", 9) as writer:
        writer.add([9])
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tokens", [([1, 2, 3], 1), ([4], 0)])
    whole = (tmp_path / "a.tokens").read_bytes()
    for end in range(len(whole)):
        (tmp_path / "b.tokens").write_bytes(whole[:end])
        with pytest.raises(DataError):
            TokenFile(tmp_path / "b.tokens")
    (tmp_path / "b.tokens").write_bytes(whole + b"\0")
    with pytest.raises(DataError):
        TokenFile(tmp_path / "b.tokens")


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    record = write(tmp_path / "a.tokens", [([1, 2, 3], 1), ([4], 0)])
    whole = bytearray((tmp_path / "a.tokens").read_bytes())
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x41
        (tmp_path / "b.tokens").write_bytes(changed)
        with pytest.raises(DataError):
            TokenFile(tmp_path / "b.tokens").verify(record, 100)


U16, U32, U64 = np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": np.array([0, 2], U64)}, "rise from 0 to the 3 tokens"),
        ({"offsets": np.array([1, 3], U64)}, "rise from 0"),
        ({"offsets": np.array([0, 3, 3], U64), "prompts": np.zeros(2, U32)}, "rise from 0"),
        ({"offsets": np.array([0, 9, 3], U64), "prompts": np.zeros(2, U32)}, "rise from 0"),
        ({"offsets": np.array([0, 1 << 63, 3], U64), "prompts": np.zeros(2, U32)}, "rise"),
        ({"offsets": np.array([0, 1, 3], U64)}, "3 borders for 1 documents"),
        ({"offsets": np.array([0], U64), "prompts": np.zeros(0, U32)}, "and a document"),
        ({"prompts": np.array([3], U32)}, "document 0 has a prompt of 3 in 3 tokens"),
        ({"tokens": np.zeros(3, "<f4")}, "tokens is F32"),
        ({"tokens": np.zeros((3, 1), U16)}, r"shape \[3, 1\]"),
        ({"offsets": np.array([0, 3], "<i8")}, "offsets is I64"),
        ({"extra": np.zeros(1, U16)}, "extra"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, changes, message: str) -> None:
    arrays = {
        "tokens": np.array([1, 2, 3], U16),
        "offsets": np.array([0, 3], U64),
        "prompts": np.array([0], U32),
    }
    save_tensors(tmp_path / "a.tokens", arrays | changes)
    with pytest.raises(DataError, match=message):
        TokenFile(tmp_path / "a.tokens")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        TokenFile(tmp_path / "a.tokens")
    with pytest.raises(DataError, match="rlcore data tokenize FILE --out"):
        TokenDataset.open(tmp_path)
    (tmp_path / "a.tokens").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        TokenFile(tmp_path / "a.tokens")


def test_a_token_beyond_the_vocabulary_is_found(tmp_path: Path) -> None:
    record = write(tmp_path / "a.tokens", [([1, 50], 0)])
    with pytest.raises(DataError, match="token id 50; the vocabulary has 50"):
        TokenFile(tmp_path / "a.tokens").verify(record, 50)


def test_index_round_trip_and_verification(tmp_path: Path) -> None:
    index = make_dataset(tmp_path, [([1, 2, 3], 1)])
    assert read_index(tmp_path) == index
    dataset = TokenDataset.open(tmp_path, verify=True)
    assert dataset.split("train").document(0).tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="no split 'val'; there are train"):
        dataset.split("val")
    # Another file in the place of the split: same size, other tokens.
    write(split_file(tmp_path, "train"), [([1, 2, 4], 1)])
    TokenDataset.open(tmp_path)
    with pytest.raises(DataError, match="damaged or replaced"):
        TokenDataset.open(tmp_path, verify=True)
    write(split_file(tmp_path, "train"), [([1, 2, 4, 4], 1)])
    with pytest.raises(DataError, match="4 tokens, 1 documents; the index says"):
        TokenDataset.open(tmp_path, verify=True)


def test_the_fingerprint_follows_the_tokens(tmp_path: Path) -> None:
    marks = set()
    for name, tokens in (("a", [1, 2]), ("b", [1, 2]), ("c", [2, 1])):
        (tmp_path / name).mkdir()
        marks.add((name in "ab", make_dataset(tmp_path / name, [(tokens, 0)]).fingerprint))
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="x"), "not the index"),
        (lambda v: v.update(version=2), "format version 2"),
        (lambda v: v.update(version=True), "format version True"),
        (lambda v: v.update(more=1), "missing or unknown: more"),
        (lambda v: v.pop("eos_id"), "missing or unknown: eos_id"),
        (lambda v: v.update(vocab_size="100"), "vocab_size must be a whole number"),
        (lambda v: v.update(vocab_size=True), "vocab_size must be a whole number"),
        (lambda v: v.update(vocab_size=0), "1 to 4294967296 tokens, got 0"),
        (lambda v: v.update(mask_id=100), r"mask_id must be in \[0, 100\), got 100"),
        (lambda v: v.update(tokenizer="../x"), "folder beside the index"),
        (lambda v: v.update(splits={}), "no split 'train'"),
        (lambda v: v.update(splits=[1]), "no split 'train'"),
        (lambda v: v["splits"].update({"../x": v["splits"]["train"]}), "lower-case letters"),
        (lambda v: v["splits"]["train"].pop("bytes"), "must have bytes, documents"),
        (lambda v: v["splits"]["train"].update(sha256="0" * 63), "64 hexadecimal digits"),
        (lambda v: v["splits"]["train"].update(tokens=-1), "tokens must be a whole number"),
        (lambda v: v["splits"]["train"].update(tokens=1 << 62), "tokens must be a whole number"),
    ],
)
def test_hostile_indices_are_refused(tmp_path: Path, change, message: str) -> None:
    make_dataset(tmp_path, [([1, 2, 3], 1)])
    values = json.loads((tmp_path / "index.json").read_text())
    change(values)
    (tmp_path / "index.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=message):
        read_index(tmp_path)


@pytest.mark.parametrize("name", ["", "Train", "../x", "train/../../x", "train\n", "x" * 33])
def test_names_of_splits_lead_to_files_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="lower-case letters"):
        split_file(tmp_path, name)


@pytest.mark.parametrize("text", ["", "[", "null", "[" * 100_000, " " * (1 << 20) + "{}", '{"a":'])
def test_an_index_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError):
        read_index(tmp_path)
