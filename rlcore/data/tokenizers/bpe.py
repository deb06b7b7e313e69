"""Training a byte-level byte-pair encoding (Sennrich et al. 2016) with ``tokenizers``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from rlcore.data.tokenizers.hugging_face import HuggingFaceTokenizer, library
from rlcore.data.tokenizers.protocol import SpecialTokens, TokenizerError

BYTES = 256


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    special: Mapping[str, str] | None = None,
    extra_special: Sequence[str] = (),
    chat_template: str | None = None,
) -> HuggingFaceTokenizer:
    """Learn merges of bytes from texts; every text can be spelled, known or not.

    Texts that spell a special token do not teach it.

    Args:
        texts: Read once.
        vocab_size: Number of ids wanted, special tokens included. There are fewer where the texts
            give no further merge.
        special: Text by role; their ids follow the learned ones.
        extra_special: Further special tokens, without a role.
        chat_template: Jinja source that lays out a conversation.

    Raises:
        TokenizerError: ``vocab_size`` leaves no room for all bytes and the special tokens.
        MissingDependencyError: The package ``tokenizers`` is not installed.
    """
    roles = dict(special or {})
    count = len(SpecialTokens.number(0, roles, extra_special).ids)
    if vocab_size < BYTES + count:
        raise TokenizerError(
            f"vocab_size {vocab_size}: wanted at least {BYTES + count}, for all bytes and "
            f"{count} special tokens"
        )
    package = library()
    tokenizer = package.Tokenizer(package.models.BPE())
    byte_level = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=vocab_size - count,
        initial_alphabet=sorted(byte_level.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    first = tokenizer.get_vocab_size()
    specials = SpecialTokens.number(first, roles, extra_special)
    tokenizer.add_special_tokens(
        [package.AddedToken(text, special=True, normalized=False) for text in specials.ids]
    )
    config = {f"{role}_token": text for role, text in roles.items()}
    return HuggingFaceTokenizer(json.loads(tokenizer.to_str()), config, chat_template)
