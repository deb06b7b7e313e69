"""Ends the samples of a request in which a stop string appears."""

from __future__ import annotations

from typing import NamedTuple

from rlcore.data.tokenizers import Tokenizer
from rlcore.data.tokenizers.streaming import TextStream
from rlcore.inference.handles import RequestHandle
from rlcore.inference.stop_text import StopText


class StoppedText(NamedTuple):
    """A sample that a stop string ended.

    Attributes:
        text: Its text before the stop string.
        tokens: Its new tokens up to the one that completed the stop string.
    """

    text: str
    tokens: int


class WatchedText:
    """The text of an answer as its tokens come, up to its first stop string.

    Args:
        tokenizer: Spells the tokens.
        stops: The stop strings.

    Attributes:
        text: What is certain to stand before a stop string.
        tokens: How many were taken.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]):
        self._stream, self._stop = TextStream(tokenizer), StopText(stops)
        self.text, self.tokens = "", 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come: the text is then complete."""
        return self._stop.found is not None

    def take(self, token: int) -> bool:
        """Add a token; return whether it completes a stop string."""
        self.text += self._stop.push(self._stream.push([token]))
        self.tokens += 1
        return self.stopped


class StopWatch:
    """Reads a request's tokens as they come and looks for stop strings.

    Args:
        handle: The request, without forks.
        tokenizer: Spells its tokens; wanted where there are stop strings.
        stops: The stop strings.

    Attributes:
        texts: By sample, those that a stop string ended.
    """

    def __init__(self, handle: RequestHandle, tokenizer: Tokenizer | None, stops: tuple[str, ...]):
        self.handle = handle
        self.texts: dict[int, StoppedText] = {}
        self._samples: list[WatchedText] = []
        if stops and tokenizer is not None:
            self._samples = [WatchedText(tokenizer, stops) for _ in range(handle.request.n)]

    def look(self) -> None:
        """Take the new tokens; end the samples whose text holds a stop string."""
        for token in self.handle.new_tokens():
            sample = self._samples[token.sample]
            if sample.stopped:
                continue
            if sample.take(token.id):
                self.texts[token.sample] = StoppedText(sample.text, sample.tokens)
                self.handle.roots[token.sample].drop()
