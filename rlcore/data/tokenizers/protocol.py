"""What a tokenizer is: text to ids and back, with special tokens that no text can produce.

Ids are the data from end to end; text is a view of them. A special token (end of text, mask, a chat
mark, ...) is written into a sequence by its id. Text that spells one is ordinary text, unless the
caller allows it by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from rlcore.errors import DataError

ROLES = ("bos", "eos", "pad", "mask", "unk")
# Which special tokens ``encode`` may read from text: none, all, or those named.
Allowed = bool | Collection[str]
Errors = Literal["strict", "replace"]
REPLACEMENT = "\ufffd"


class TokenizerError(DataError):
    """A text or an id that the tokenizer has no form for, or a tokenizer file that is refused."""


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of a vocabulary.

    Attributes:
        ids: Id of each, by its text.
        bos_id: Begins a sequence.
        eos_id: Ends one.
        pad_id: Fills rows; never seen by a model.
        mask_id: Stands for a token that masked diffusion has not yet chosen.
        unk_id: Stands for text outside the vocabulary; the one that ordinary text may produce.
        shown: Ids that belong to the text that people see, such as ``<think>``: they stay when
            special tokens are left out of a decoded text.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    mask_id: int | None = None
    unk_id: int | None = None
    shown: frozenset[int] = frozenset()

    @classmethod
    def number(
        cls, first: int, roles: Mapping[str, str], extra: Sequence[str] = ()
    ) -> SpecialTokens:
        """Give ids to special tokens: those with a role first, then the others.

        Args:
            first: The first id.
            roles: Text by role, for example ``{"eos": "<eos>"}``; one text may have several roles.
            extra: Further texts, without a role.

        Raises:
            TokenizerError: A role is unknown, a text is empty or no text, or ``extra`` repeats one.
        """
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise TokenizerError(
                f"special-token role {unknown[0]!r:.80}; known: {', '.join(ROLES)}"
            )
        texts = list(dict.fromkeys(roles[role] for role in ROLES if role in roles))
        texts += extra
        if len(set(texts)) != len(texts) or not all(isinstance(t, str) and t for t in texts):
            raise TokenizerError(
                f"special tokens must be different, non-empty texts: {texts!r:.200}"
            )
        ids = {text: first + n for n, text in enumerate(texts)}
        return cls(ids).with_roles({role: ids[text] for role, text in roles.items()})

    def with_roles(self, number: Mapping[str, int]) -> SpecialTokens:
        """Return the same tokens with the id of each role given."""
        changes: dict[str, Any] = {f"{role}_id": found for role, found in number.items()}
        return replace(self, **changes)

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that ordinary text never gives."""
        return frozenset(self.ids.values()) - {self.unk_id}

    @property
    def hidden_ids(self) -> frozenset[int]:
        """Ids that a text without special tokens leaves out."""
        return self.control_ids - self.shown

    def roles(self) -> dict[str, str]:
        """Return the text of each role that is filled."""
        texts = {number: text for text, number in self.ids.items()}
        found = {role: getattr(self, f"{role}_id") for role in ROLES}
        return {role: texts[number] for role, number in found.items() if number is not None}

    def extra(self) -> list[str]:
        """Return the texts without a role, in the order of their ids."""
        taken = set(self.roles().values())
        return [t for t, _ in sorted(self.ids.items(), key=lambda i: i[1]) if t not in taken]

    def allowed(self, which: Allowed) -> dict[str, int]:
        """Return the special tokens that text may spell, by text.

        Raises:
            TokenizerError: A name is not a special token.
        """
        if isinstance(which, bool):
            return dict(self.ids) if which else {}
        unknown = sorted(set(which) - set(self.ids))
        if unknown:
            raise TokenizerError(f"{unknown[0]!r:.80} is no special token of this tokenizer")
        return {text: self.ids[text] for text in which}


def split_special(text: str, allowed: Mapping[str, int]) -> Iterator[str | int]:
    """Yield the ordinary pieces of a text, and the ids of the special tokens between them.

    Where several special tokens start, the longest is taken.
    """
    if not allowed:
        if text:
            yield text
        return
    longest_first = sorted(allowed, key=len, reverse=True)
    for n, piece in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text)):
        if n % 2:
            yield allowed[piece]
        elif piece:
            yield piece


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
        prefix: Ids that stand before every text that is given to a model.
        chat_template: Jinja source that lays out a conversation, if there is one.
    """

    prefix: tuple[int, ...]
    chat_template: str | None

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id is below it."""

    @property
    def specials(self) -> SpecialTokens:
        """The special tokens."""

    def encode(self, text: str, *, special: Allowed = False) -> list[int]:
        """Return the ids of a text; nothing is added at its ends.

        Args:
            text: Any text.
            special: Special tokens that the text may spell: none, all (``True``), or those named.
                What is not allowed becomes ordinary tokens.

        Raises:
            TokenizerError: The text cannot be spelled, or a name is not a special token.
        """

    def decode(
        self, ids: Sequence[int], *, skip_special: bool = False, errors: Errors = "strict"
    ) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD.

        Args:
            ids: Ids.
            skip_special: Leave special tokens out.
            errors: What an id without a token is: an error (``"strict"``) or U+FFFD
                (``"replace"``). Models have such ids where their vocabulary is padded.

        Raises:
            TokenizerError: An id is not in the vocabulary.
        """

    def save(self, folder: str | Path) -> None:
        """Write what :func:`rlcore.data.tokenizers.load_tokenizer` reads."""


class SpelledTokenizer:
    """Base of tokenizers whose tokens are fixed strings of bytes: text is their concatenation.

    Ordinary tokens have the ids from 0 up, special tokens those after them. A chat template may be
    set after construction; it is saved and read with the rest.
    """

    kind = ""
    prefix: tuple[int, ...] = ()
    chat_template: str | None = None

    def __init__(self, pieces: Sequence[bytes], roles: Mapping[str, str], extra: Sequence[str]):
        self.specials = SpecialTokens.number(len(pieces), roles, extra)
        self._pieces = [*pieces, *(text.encode() for text in self.specials.ids)]

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self._pieces)

    def encode(self, text: str, *, special: Allowed = False) -> list[int]:
        """Return the ids of a text; see :class:`Tokenizer`."""
        ids: list[int] = []
        for piece in split_special(text, self.specials.allowed(special)):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._ordinary(piece)
        return ids

    def _ordinary(self, text: str) -> list[int]:
        raise NotImplementedError

    def token_bytes(self, token: int, errors: Errors = "strict") -> bytes:
        """Return what a token spells; ``errors`` as in :meth:`decode`.

        Raises:
            TokenizerError: The id is not in the vocabulary.
        """
        if 0 <= token < len(self._pieces):
            return self._pieces[token]
        return bytes_of_unknown(token, self.vocab_size, errors)

    def decode(
        self, ids: Sequence[int], *, skip_special: bool = False, errors: Errors = "strict"
    ) -> str:
        """Return the text of ids; see :class:`Tokenizer`."""
        hidden = self.specials.hidden_ids if skip_special else frozenset()
        spelled = (self.token_bytes(i, errors) for i in ids if i not in hidden)
        return b"".join(spelled).decode("utf-8", "replace")

    def save(self, folder: str | Path) -> None:
        """Write ``rlcore_tokenizer.json`` into a folder, which is made if it is missing."""
        from rlcore.data.tokenizers.files import write_own, write_template

        tree: dict[str, Any] = {"type": self.kind, "special": self.specials.roles()}
        write_own(folder, tree | {"extra_special": self.specials.extra()} | self._vocabulary())
        write_template(folder, self.chat_template)

    def _vocabulary(self) -> dict[str, Any]:
        return {}


def bytes_of_unknown(token: int, vocab_size: int, errors: Errors) -> bytes:
    """Return what stands for an id without a token.

    Raises:
        TokenizerError: Such ids are errors.
    """
    if errors == "strict":
        raise TokenizerError(f"token id {token}; this vocabulary has 0 to {vocab_size - 1}")
    return REPLACEMENT.encode()
