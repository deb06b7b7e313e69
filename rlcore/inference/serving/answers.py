"""OpenAI's answers: from tokens as they come to JSON, whole or in events."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlcore.data.tokenizers import Tokenizer
from rlcore.data.tokenizers.streaming import TextStream
from rlcore.inference.serving.wire import Call
from rlcore.inference.stop_text import StopText

Alternatives = Sequence[tuple[int, float]]
# How the engine's reasons are called by the protocol; "abort" is what a client never waits for.
REASONS = {"stop": "stop", "length": "length", "closed": "stop", "invalid_fork": "stop",
           "dropped": "stop", "aborted": "abort"}  # fmt: skip
# The log-probability of a token that has none: JSON has no infinity.
LEAST = -9999.0


@dataclass
class Choice:
    """One answer as it grows.

    Attributes:
        index: Its number among the answers of a request.
        ids: Its tokens.
        log_probs: Their log-probabilities under the model.
        text: What was shown, without a stop string.
        offsets: Where in the text each token began.
        finish_reason: Why it ended, in the protocol's words.
        alternatives: The most probable tokens in the place of each, if they were asked for.
    """

    index: int
    tokenizer: Tokenizer
    stops: tuple[str, ...]
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    text: str = ""
    offsets: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    alternatives: Sequence[Alternatives] | None = None

    def __post_init__(self) -> None:
        self._stream = TextStream(self.tokenizer)
        self._stop = StopText(self.stops)
        self._spelled = 0

    def ended(self) -> bool:
        """Return whether the answer is complete."""
        return self.finish_reason is not None

    def push(self, ids: Sequence[int], log_probs: Sequence[float]) -> str:
        """Take tokens and return the text that can be shown; a stop string ends the answer."""
        shown = ""
        for token, log_prob in zip(ids, log_probs, strict=True):
            if self.ended():
                break
            self.ids.append(token)
            self.log_probs.append(log_prob)
            self.offsets.append(self._spelled)
            piece = self._stream.push([token])
            self._spelled += len(piece)
            shown += self._stop.push(piece)
            if self._stop.found is not None:
                self.finish_reason = "stop"
        self.text += shown
        return shown

    def finish(self, reason: str) -> str:
        """End the answer for the engine's reason, and return what is still to be shown."""
        if self.ended():
            return ""
        shown = self._stop.push(self._stream.finish())
        shown += self._stop.finish() if self._stop.found is None else ""
        self.finish_reason = "stop" if self._stop.found is not None else REASONS[reason]
        self.text += shown
        return shown


@dataclass
class Answers:
    """Everything that one request is answered with."""

    call: Call
    model: str
    tokenizer: Tokenizer
    choices: list[Choice] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.call.prompts) * self.call.n
        self.choices = [Choice(n, self.tokenizer, self.call.stops) for n in range(count)]
        chat = self.call.kind == "chat"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": self.model,
        }

    def whole(self) -> dict[str, Any]:
        """Return the answer that is sent at once."""
        choices = [self._whole_choice(choice) for choice in self.choices]
        return {**self._head, "choices": choices, "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """Return the counts of tokens; a prompt counts once, however many answers it has."""
        prompt = sum(map(len, self.call.prompts))
        new = sum(len(choice.ids) for choice in self.choices)
        counts = {"prompt_tokens": prompt, "completion_tokens": new}
        return {**counts, "total_tokens": prompt + new}

    # -- events -----------------------------------------------------------------------------------

    def first_events(self) -> list[dict[str, Any]]:
        """Return the events that come before any token."""
        if self.call.kind != "chat":
            return []
        opening = {"role": "assistant", "content": ""}
        return [self._event(choice, {"delta": opening}) for choice in self.choices]

    def event(self, choice: Choice, text: str, tokens: int) -> dict[str, Any]:
        """Return the event of new text that ``tokens`` new tokens gave."""
        first = len(choice.ids) - tokens
        return self._event(
            choice,
            {"delta": {"content": text} if text else {}}
            if self.call.kind == "chat"
            else {"text": text},
            range(first, len(choice.ids)),
        )

    def usage_event(self) -> dict[str, Any]:
        """Return the event of the counts."""
        return {**self._event_head(), "choices": [], "usage": self.usage()}

    def _event_head(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.call.kind == "chat" else "text_completion"
        return {**self._head, "object": kind}

    def _event(
        self, choice: Choice, content: Mapping[str, Any], tokens: range = range(0)
    ) -> dict[str, Any]:
        told = self._log_probs(choice, tokens) if self.call.log_probs and tokens else None
        body = {"index": choice.index, **content, "logprobs": told}
        body["finish_reason"] = choice.finish_reason
        if self.call.token_ids:
            body["token_ids"] = [choice.ids[n] for n in tokens]
        usage = {"usage": None} if self.call.usage_event else {}
        return {**self._event_head(), "choices": [body], **usage}

    # -- parts ------------------------------------------------------------------------------------

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        told = None
        if self.call.log_probs:
            told = self._log_probs(choice, range(len(choice.ids)))
        content: dict[str, Any] = {"text": choice.text}
        if self.call.kind == "chat":
            content = {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
        body = {"index": choice.index, **content, "logprobs": told}
        body["finish_reason"] = choice.finish_reason
        return body | ({"token_ids": choice.ids} if self.call.token_ids else {})

    def _log_probs(self, choice: Choice, tokens: range) -> dict[str, Any]:
        others = choice.alternatives
        if self.call.kind == "chat":
            entries = [
                {
                    **self._token(choice.ids[n], choice.log_probs[n]),
                    "top_logprobs": [self._token(*pair) for pair in others[n]] if others else [],
                }
                for n in tokens
            ]
            return {"content": entries, "refusal": None}
        tops = None
        if others:
            tops = [{self._spell(i): _finite(lp) for i, lp in others[n]} for n in tokens]
        return {
            "tokens": [self._spell(choice.ids[n]) for n in tokens],
            "token_logprobs": [_finite(choice.log_probs[n]) for n in tokens],
            "top_logprobs": tops,
            "text_offset": [choice.offsets[n] for n in tokens],
        }

    def _token(self, token: int, log_prob: float) -> dict[str, Any]:
        return {
            "token": self._spell(token),
            "logprob": _finite(log_prob),
            "bytes": list(token_bytes(self.tokenizer, token)),
        }

    def _spell(self, token: int) -> str:
        return token_text(self.tokenizer, token)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Return a token's text; where it is part of a character, its bytes as escapes."""
    data = token_bytes(tokenizer, token)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"\\x{value:02x}" for value in data)


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """Return the bytes of a token; where it has none of its own, those of its text."""
    spell = getattr(tokenizer, "token_bytes", None)
    if spell is not None and getattr(tokenizer, "spells_bytes", True):
        return bytes(spell(token, "replace"))
    return tokenizer.decode([token], errors="replace").encode()


def _finite(log_prob: float) -> float:
    return max(log_prob, LEAST) if not math.isnan(log_prob) else LEAST
