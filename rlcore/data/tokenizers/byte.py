"""A token a byte: 256 ordinary ids, no training, no text it cannot spell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlcore.data.tokenizers.protocol import SpelledTokenizer, TokenizerError

DEFAULT_SPECIAL = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}


class ByteTokenizer(SpelledTokenizer):
    """UTF-8 bytes are the ids 0 to 255; special tokens follow from 256.

    Args:
        special: Text by role (``bos``, ``eos``, ``pad``, ``mask``); by default the first three.
        extra_special: Further special tokens, without a role.
    """

    kind = "byte"

    def __init__(self, special: Mapping[str, str] | None = None, extra_special: Sequence[str] = ()):
        roles = DEFAULT_SPECIAL if special is None else special
        super().__init__([bytes([value]) for value in range(256)], roles, extra_special)

    def _ordinary(self, text: str) -> list[int]:
        return list(utf8(text))


def utf8(text: str) -> bytes:
    """Return the bytes of a text.

    Raises:
        TokenizerError: It holds half a surrogate pair, which no UTF-8 stands for.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"text holds the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}: it is no Unicode text"
        ) from None
