"""A token a word, from a fixed list: for small grammars where each mark is one decision."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlcore.data.tokenizers.byte import utf8
from rlcore.data.tokenizers.protocol import SpelledTokenizer, TokenizerError

# A run of letters and digits, or any other single character, white space included.
WORD = re.compile(r"\w+|\W", re.DOTALL)


class WordTokenizer(SpelledTokenizer):
    """The words of a list are the ids from 0 up, in its order; special tokens follow.

    Text is the plain concatenation of words (white space is a word like any other), read from the
    left by the longest word that fits: decoding an encoded text gives exactly that text.

    Args:
        words: Different, non-empty strings.
        special: Text by role. With ``unk``, each character that begins no word becomes that token;
            without it that is an error.
        extra_special: Further special tokens, without a role.

    Raises:
        TokenizerError: There is no word, an empty one, or one twice.
    """

    kind = "word"

    def __init__(
        self,
        words: Sequence[str],
        special: Mapping[str, str] | None = None,
        extra_special: Sequence[str] = (),
    ):
        if not words or not all(words) or len(set(words)) != len(words):
            raise TokenizerError(f"different, non-empty words are wanted, got {words!r:.120}")
        super().__init__([utf8(word) for word in words], special or {}, extra_special)
        self.words = tuple(words)
        self._id_of = {word: n for n, word in enumerate(words)}
        longest_first = sorted(words, key=len, reverse=True)
        self._match = re.compile("|".join(map(re.escape, longest_first)) + "|.", re.DOTALL)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        special: Mapping[str, str] | None = None,
        extra_special: Sequence[str] = (),
        max_words: int | None = None,
    ) -> WordTokenizer:
        """Make the tokenizer of the words in texts (:data:`WORD`), the most frequent first."""
        counts = Counter(word for text in texts for word in WORD.findall(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[:max_words], special, extra_special)

    def _ordinary(self, text: str) -> list[int]:
        ids = []
        for match in self._match.finditer(text):
            found = self._id_of.get(match[0], self.specials.unk_id)
            if found is None:
                raise TokenizerError(
                    f"no word begins with {text[match.start() : match.start() + 20]!r} at "
                    f"{match.start()}, and there is no special token 'unk'"
                )
            ids.append(found)
        return ids

    def _vocabulary(self) -> dict[str, Any]:
        return {"words": list(self.words)}
