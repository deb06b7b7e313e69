"""Text files to token data sets: split, spelled in tokens, written with their tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlcore.data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, load_tokenizer
from rlcore.data.tokens.dataset import HELD_OUT, TRAIN, DatasetIndex, split_file, write_index
from rlcore.data.tokens.file import TokenWriter
from rlcore.errors import ConfigError, DataError

TOKENIZER_FOLDER = "tokenizer"
Documents = Literal["file", "line", "pairs"]
MAX_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a prompt with its response."""

    text: str
    prompt: str = ""


Splits = dict[str, list[Document]]


def read_documents(files: Sequence[str | Path], kind: Documents, held_out: float) -> Splits:
    """Return the documents of text files by split; the last share of each file is held out.

    Args:
        files: UTF-8 text, or JSON lines for ``pairs``.
        kind: ``file``: each file is one document, cut at a character; ``line``: each line that is
            not blank is one; ``pairs``: each line is ``{"prompt": ..., "response": ...}`` or
            ``{"text": ...}``.
        held_out: Share of each file, in [0, 1).

    Raises:
        DataError: A file cannot be read, or leaves a split empty.
    """
    if not 0.0 <= held_out < 1.0:
        raise ConfigError(f"the held-out share must be in [0, 1), got {held_out}")
    splits: Splits = {TRAIN: [], HELD_OUT: []}
    for file in files:
        text = _read(Path(file))
        whole = text if kind == "file" else _lines(text, kind, file)
        cut = int(len(whole) * (1.0 - held_out))
        for split, part in ((TRAIN, whole[:cut]), (HELD_OUT, whole[cut:])):
            found = [Document(part)] if isinstance(part, str) else part
            splits[split] += [one for one in found if one.text]
    for split in (TRAIN, HELD_OUT) if held_out else (TRAIN,):
        if not splits[split]:
            raise DataError(
                f"no document for the split {split!r} in {', '.join(map(str, files))}: too little "
                f"text for a held-out share of {held_out}"
            )
    return splits


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: over {MAX_BYTES} bytes; split it into several files")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from None


def _lines(text: str, kind: Documents, file: str | Path) -> list[Document]:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if kind == "line":
        return [Document(line) for _, line in lines]
    return [_pair(line, f"{file}, line {number}") for number, line in lines]


def _pair(line: str, place: str) -> Document:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error})") from None
    for keys in ({"prompt", "response"}, {"text"}):
        if isinstance(value, dict) and set(value) == keys:
            texts = {key: value[key] for key in keys}
            if not all(isinstance(text, str) for text in texts.values()):
                raise DataError(f"{place}: {' and '.join(sorted(keys))} must be text")
            return Document(texts.get("response", texts.get("text", "")), texts.get("prompt", ""))
    raise DataError(f'{place}: wanted {{"prompt": ..., "response": ...}} or {{"text": ...}}')


def choose_tokenizer(name: str, splits: Splits, special: Sequence[str] = ()) -> Tokenizer:
    """Return ``char`` (the characters of the documents), ``byte``, or the one in a folder.

    Args:
        name: ``char``, ``byte`` or a folder.
        splits: The documents.
        special: Roles of special tokens, for example ``eos`` and ``mask``; not with a folder.

    Raises:
        ConfigError: Special tokens are asked of a tokenizer that has its own.
    """
    roles = {role: f"<{role}>" for role in special}
    if name == "byte":
        return ByteTokenizer(roles or None)
    if name == "char":
        texts = (t for documents in splits.values() for d in documents for t in (d.text, d.prompt))
        return CharTokenizer.from_texts(texts, roles)
    if special:
        raise ConfigError(f"{name} has special tokens of its own: leave out {special}")
    return load_tokenizer(name)


def write_dataset(
    out: str | Path, splits: Splits, tokenizer: Tokenizer, *, eos: bool
) -> DatasetIndex:
    """Write a data set and the tokenizer that reads it back; return its index.

    Args:
        out: The folder, made if it is missing.
        splits: The documents; a split without any is left out.
        tokenizer: Spells them.
        eos: Whether each document ends with the end-of-text token, where there is one.

    Raises:
        DataError: The folder holds a data set already, or a text cannot be spelled.
    """
    folder, specials = Path(out), tokenizer.specials
    if (folder / "index.json").exists():
        raise DataError(f"{folder} holds a data set already; remove it or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    end = [specials.eos_id] if eos and specials.eos_id is not None else []
    records = {}
    for split, documents in splits.items():
        if not documents:
            continue
        with TokenWriter(split_file(folder, split), tokenizer.vocab_size) as writer:
            for prompt, text in _spelled(documents, tokenizer):
                writer.add([*prompt, *text, *end], len(prompt))
            records[split] = writer.finish()
    tokenizer.save(folder / TOKENIZER_FOLDER)
    index = DatasetIndex(
        tokenizer.vocab_size, records, specials.eos_id, specials.mask_id, TOKENIZER_FOLDER
    )
    write_index(folder, index)
    return index


def _spelled(
    documents: Iterable[Document], tokenizer: Tokenizer
) -> Iterable[tuple[list[int], list[int]]]:
    for document in documents:
        yield tokenizer.encode(document.prompt), tokenizer.encode(document.text)
