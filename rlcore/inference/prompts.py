"""A prompt's text as ids, with what the tokenizer puts before every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlcore.data.tokenizers import Tokenizer, TokenizerError
from rlcore.inference.errors import RequestError
from rlcore.inference.request import check_integers


def encode_prompt(tokenizer: Tokenizer | None, prompt: str | Sequence[int]) -> list[int]:
    """Return the ids of a prompt; ids are taken as they are.

    An empty text becomes the token that begins a sequence, or else the one that ends it: after
    either a model begins anew.

    Raises:
        RequestError: It is neither a text nor a list of integers.
        TokenizerError: A text without a tokenizer, an empty prompt without such a token, or a text
            that cannot be spelled.
    """
    if not isinstance(prompt, str):
        # Bytes and the keys of a mapping would pass as ids.
        if isinstance(prompt, (bytes, bytearray, Mapping)) or not hasattr(prompt, "__getitem__"):
            raise RequestError(f"a prompt is a text or a list of token ids, got {prompt!r:.60}")
        ids = list(prompt)
        check_integers(ids, "a prompt")
        return ids
    if tokenizer is None:
        raise TokenizerError(f"prompt {prompt!r:.60} is text, and there is no tokenizer; give ids")
    ids = [*tokenizer.prefix, *tokenizer.encode(prompt)]
    specials = tokenizer.specials
    first = specials.eos_id if specials.bos_id is None else specials.bos_id
    if not ids and first is None:
        raise TokenizerError("the prompt is empty, and the tokenizer has no bos or eos token")
    return ids or [first]  # type: ignore[list-item]
