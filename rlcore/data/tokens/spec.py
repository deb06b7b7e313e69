"""What an agent needs to know of a token data set, without opening it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenSpec:
    """A data set as an agent sees it.

    Attributes:
        vocab_size: Number of token ids.
        length: Tokens that a row feeds to the network.
        eos_id: Token that ends a document or a response, if there is one.
        mask_id: Token that stands for a hidden one, if there is one.
        packing: ``cut``, ``fit`` or ``single``; see :mod:`rlcore.data.tokens.order`.
        folder: Where the data set lies, for messages.
    """

    vocab_size: int
    length: int
    eos_id: int | None = None
    mask_id: int | None = None
    packing: str = "cut"
    folder: str = ""
