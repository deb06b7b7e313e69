"""What each token of a Hugging Face vocabulary spells, where its neighbours do not matter.

Two kinds of decoders are of this form: byte-level ones, whose letters stand for bytes, and those of
SentencePiece, whose ``▁`` is a space and ``<0xE8>`` a byte, and which drop one space at the start.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_SPACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
_PIECES = [_SPACE, {"type": "ByteFallback"}, {"type": "Fuse"}]
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def byte_table(
    decoder: Any, texts: Mapping[int, str], added: Collection[str]
) -> dict[int, bytes] | None:
    """Return what each token spells, or ``None`` if the decoder is of another form.

    Args:
        decoder: The entry ``decoder`` of ``tokenizer.json``.
        texts: Name of each token by id.
        added: Names that are meant literally.
    """
    parts = _parts(decoder)
    if parts and all(part.get("type") == "ByteLevel" for part in parts):
        byte_of = byte_letters()
        return {n: _letters(text, byte_of, text in added) for n, text in texts.items()}
    if parts in (_PIECES, [*_PIECES, _STRIP]):
        return {n: text.encode() if text in added else _piece(text) for n, text in texts.items()}
    return None


def strips_first_space(decoder: Any) -> bool:
    """Return whether a decoder drops one space at the start of a text."""
    return _STRIP in _parts(decoder)


def _parts(decoder: Any) -> list[dict[str, Any]]:
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") != "Sequence":
        return [decoder]
    found = decoder.get("decoders")
    whole = isinstance(found, list) and all(isinstance(part, dict) for part in found)
    return list(found) if whole and isinstance(found, list) else []


def _letters(text: str, byte_of: Mapping[str, int], literal: bool) -> bytes:
    if literal or any(letter not in byte_of for letter in text):
        return text.encode()
    return bytes(byte_of[letter] for letter in text)


def _piece(text: str) -> bytes:
    match = _BYTE.fullmatch(text)
    return bytes([int(match[1], 16)]) if match else text.replace("▁", " ").encode()


def byte_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for.

    Printable Latin-1 stands for itself; the other bytes are numbered from U+0100 in their order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in printable]
    return {chr(v): v for v in printable} | {chr(0x100 + n): v for n, v in enumerate(others)}
