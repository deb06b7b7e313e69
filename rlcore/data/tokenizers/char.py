"""A token a character, from a fixed alphabet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlcore.data.tokenizers.byte import utf8
from rlcore.data.tokenizers.protocol import SpelledTokenizer, TokenizerError


class CharTokenizer(SpelledTokenizer):
    """The characters of an alphabet are the ids from 0 up, in its order; special tokens follow.

    Args:
        alphabet: Different characters.
        special: Text by role. With ``unk``, characters outside the alphabet become that token;
            without it they are an error.
        extra_special: Further special tokens, without a role.

    Raises:
        TokenizerError: The alphabet is empty or has a character twice.
    """

    kind = "char"

    def __init__(
        self,
        alphabet: str,
        special: Mapping[str, str] | None = None,
        extra_special: Sequence[str] = (),
    ):
        if not alphabet or len(set(alphabet)) != len(alphabet):
            raise TokenizerError(
                f"an alphabet of different characters is wanted, got {alphabet!r:.80}"
            )
        super().__init__([utf8(character) for character in alphabet], special or {}, extra_special)
        self.alphabet = alphabet
        self._id_of = {character: n for n, character in enumerate(alphabet)}

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        special: Mapping[str, str] | None = None,
        extra_special: Sequence[str] = (),
    ) -> CharTokenizer:
        """Make the tokenizer of all characters that occur in texts, in code-point order."""
        return cls("".join(sorted(set().union(*texts))), special, extra_special)

    def _ordinary(self, text: str) -> list[int]:
        unknown = self.specials.unk_id
        ids = [self._id_of.get(character, unknown) for character in text]
        if unknown is None and None in ids:
            place = ids.index(None)
            raise TokenizerError(
                f"character {text[place]!r} at {place} is not in the alphabet of {len(self._id_of)}"
                ", and there is no special token 'unk'"
            )
        return ids  # type: ignore[return-value]

    def _vocabulary(self) -> dict[str, Any]:
        return {"alphabet": self.alphabet}
