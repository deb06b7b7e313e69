"""Tokenizers: ids end to end, text is a view.

Our own (a byte, a character or a word a token) need no package. Any Hugging Face ``tokenizer.json``
is read, and byte-pair encodings are trained, with the package ``tokenizers`` (extra ``llm``).
"""

from rlcore.data.tokenizers.byte import ByteTokenizer
from rlcore.data.tokenizers.char import CharTokenizer
from rlcore.data.tokenizers.files import has_tokenizer, load_tokenizer
from rlcore.data.tokenizers.protocol import SpecialTokens, Tokenizer, TokenizerError
from rlcore.data.tokenizers.word import WordTokenizer

__all__ = [
    "ByteTokenizer",
    "CharTokenizer",
    "SpecialTokens",
    "Tokenizer",
    "TokenizerError",
    "WordTokenizer",
    "has_tokenizer",
    "load_tokenizer",
]
