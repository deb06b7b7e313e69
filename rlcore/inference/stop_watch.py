"""Ends the samples of a request in which a stop string appears."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass
class _Sample:
    stream: TextStream
    stop: StopText
    text: str = ""
    tokens: int = 0

    def take(self, token: int) -> bool:
        """Add a token; return whether it completes a stop string."""
        self.text += self.stop.push(self.stream.push([token]))
        self.tokens += 1
        return self.stop.found is not None


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
        self._samples: list[_Sample] = []
        if stops and tokenizer is not None:
            self._samples = [
                _Sample(TextStream(tokenizer), StopText(stops)) for _ in range(handle.request.n)
            ]

    def look(self) -> None:
        """Take the new tokens; end the samples whose text holds a stop string."""
        for token in self.handle.new_tokens():
            sample = self._samples[token.sample]
            if sample.stop.found is not None:
                continue
            if sample.take(token.id):
                self.texts[token.sample] = StoppedText(sample.text, sample.tokens)
                self.handle.roots[token.sample].drop()
