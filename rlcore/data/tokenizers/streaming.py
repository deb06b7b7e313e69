"""Text as its tokens arrive: what is given out is never half a character and never taken back."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any

from rlcore.data.tokenizers.protocol import REPLACEMENT, Tokenizer

# A character of UTF-8 has at most four bytes, hence as many tokens; beyond it, U+FFFD is meant.
_HOLD = 4


class TextStream:
    """Turns ids into pieces of text, one token at a time.

    The pieces, :meth:`finish` included, are together the text of all the ids.

    Args:
        tokenizer: Spells the tokens.
        skip_special: Leave special tokens out.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = True):
        self._hidden = tokenizer.specials.hidden_ids if skip_special else frozenset[int]()
        spells = getattr(tokenizer, "spells_bytes", hasattr(tokenizer, "token_bytes"))
        self._part: Any = _Bytes(tokenizer) if spells else _Window(tokenizer)

    def push(self, tokens: Iterable[int]) -> str:
        """Return the text that is certain once these tokens have come; it may be empty."""
        return "".join(self._part.push(token) for token in tokens if token not in self._hidden)

    def finish(self) -> str:
        """Return what is left: a character that was never completed is U+FFFD."""
        return str(self._part.finish())


class _Bytes:
    """For tokens that are strings of bytes: exact."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = getattr(tokenizer, "strips_first_space", False)

    def push(self, token: int) -> str:
        text = self._decoder.decode(self._tokenizer.token_bytes(token, "replace"))
        if text and self._strip:
            self._strip = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _Window:
    """For tokens whose text depends on their neighbours: decodes the last few again.

    ``ids`` are the tokens since the last stretch that was given out, and that stretch before them;
    what they add to it is new.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        self._ids.append(token)
        new = self._new()
        if not new or (new.endswith(REPLACEMENT) and len(self._ids) - self._given <= _HOLD):
            return ""
        self._ids, self._given = self._ids[self._given :], len(self._ids) - self._given
        return new

    def finish(self) -> str:
        new = self._new()
        self._given = len(self._ids)
        return new

    def _new(self) -> str:
        before = self._decode(self._ids[: self._given])
        return self._decode(self._ids)[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, errors="replace")
