"""A conversation in the terminal: answers as they come, keys and values kept from turn to turn."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments.generation import terminal_text
from experiments.transcript import Answer, Branch, spell
from experiments.transcript_html import write_transcript
from rlcore.data.tokenizers import Tokenizer
from rlcore.data.tokenizers.chat import encode_chat, encode_turn
from rlcore.data.tokenizers.streaming import TextStream
from rlcore.errors import ConfigError, NonFiniteError, RlcoreError
from rlcore.inference.config import SamplingParams
from rlcore.inference.errors import RequestTooLargeError
from rlcore.inference.handles import RequestHandle
from rlcore.inference.llm import LLM
from rlcore.inference.sessions import Session

HELP = """\
/help            this list
/new             begin a new conversation (the system message stays)
/system TEXT     set the system message and begin anew; without TEXT there is none
/set             show how answers are drawn
/set NAME VALUE  change it: temperature, top_p, top_k, repetition_penalty, seed, max_new_tokens
/stats           tokens of the conversation, and what the engine computed
/html FILE       write the conversation as a page
/quit            end; so does Ctrl-D. Ctrl-C stops an answer
"""


@dataclass
class Turn:
    """What was sent, and what came back."""

    sent: list[int]
    ids: list[int]
    raw_log_probs: list[float]
    finish_reason: str


class Chat:
    """A conversation with a causal model.

    Args:
        llm: With a tokenizer that has a chat template.
        sampling: How answers are drawn.
        max_new_tokens: Most tokens of an answer.
        system: The system message, if any.
        write: Takes text as it comes.
        terminal: Whether the text goes to a terminal, which must not obey it.

    Raises:
        ConfigError: The model is not causal, or cannot lay out a conversation.
    """

    def __init__(
        self,
        llm: LLM,
        sampling: SamplingParams,
        max_new_tokens: int,
        system: str | None,
        write: Callable[[str], object],
        terminal: bool,
    ):
        if llm.tokenizer is None or llm.tokenizer.chat_template is None:
            raise ConfigError(
                "a conversation needs a tokenizer with a chat template (chat_template.jinja in the "
                "model's folder, or --template FILE)"
            )
        self.tokenizer: Tokenizer = llm.tokenizer
        self.engine, self._stop_ids = llm.engine, llm.stop_ids
        self.sampling, self.max_new_tokens = sampling, max_new_tokens
        self._system, self._write, self._terminal = system, write, terminal
        self._session: Session | None = None
        self.turns: list[Turn] = []
        self._messages: list[dict[str, Any]] = []
        self.begin()

    def begin(self) -> None:
        """Forget the conversation, but for the system message."""
        self._end_session()
        self.turns = []
        system = [] if self._system is None else [{"role": "system", "content": self._system}]
        self._messages = list(system)

    def close(self) -> None:
        """Give up what the engine holds for the conversation."""
        self._end_session()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    # -- turns ------------------------------------------------------------------------------------

    def ask(self, text: str) -> Turn:
        """Send a message and write the answer as it comes; Ctrl-C ends the answer.

        Raises:
            TokenizerError: The message cannot be laid out.
            RequestError: The conversation does not fit into the engine any more.
        """
        messages = [*self._messages, {"role": "user", "content": text}]
        sent = self._new_ids(messages)
        turn = self._answer(sent)
        self.turns.append(turn)
        answer = self.tokenizer.decode(turn.ids, skip_special=True, errors="replace")
        self._messages = [*messages, {"role": "assistant", "content": answer}]
        return turn

    def _new_ids(self, messages: list[dict[str, Any]]) -> list[int]:
        if not self.turns:
            return encode_chat(self.tokenizer, messages)
        ids = self.turns[-1].ids
        return encode_turn(self.tokenizer, messages, ended_with=ids[-1] if ids else None)

    def _answer(self, sent: list[int]) -> Turn:
        whole = [i for turn in self.turns for i in (*turn.sent, *turn.ids)] + sent
        handle = self._send(sent, whole)
        handle.new_tokens()  # those of earlier turns were shown
        stream = TextStream(self.tokenizer)
        with _interrupts() as told:
            while not handle.done:
                if told:
                    handle.root.stop()
                    handle.finish()
                    break
                self.engine.run_one(handle)
                self._show(stream.push(token.id for token in handle.new_tokens()))
        self._show(stream.push(token.id for token in handle.new_tokens()) + stream.finish())
        trace = handle.traces[0]
        if trace is None:
            raise ConfigError("the answer has not ended")
        new = slice(len(whole), None)
        raw = trace.raw_log_probs[new].tolist()
        if any(map(math.isnan, raw)):
            self._end_session()
            self.engine.store.forget()
            raise NonFiniteError("the model's logits are not finite; this answer is forgotten")
        reason = "interrupted" if told else str(trace.finish_reason)
        return Turn(sent, trace.ids[new].tolist(), raw, reason)

    def _send(self, sent: list[int], whole: list[int]) -> RequestHandle:
        session, given = self._session, sent
        if session is None:
            # Also after a change of settings: what was computed is found in the prefix cache.
            session = self.engine.open_session(sampling=self.sampling, stop_ids=self._stop_ids)
            given = whole
        try:
            handle = session.send(given, self.max_new_tokens)
        except RequestTooLargeError as error:
            raise RequestTooLargeError(
                f"the conversation has {len(whole)} tokens, the answer up to "
                f"{self.max_new_tokens}: {error}; /new begins anew, /set max_new_tokens allows "
                "shorter answers"
            ) from None
        # One that took nothing is not kept: the next message must bring the whole conversation.
        self._session = session
        return handle

    def _show(self, text: str) -> None:
        if text:
            self._write(terminal_text(text) if self._terminal else text)

    # -- commands ---------------------------------------------------------------------------------

    def command(self, line: str) -> str:
        """Obey a line that begins with ``/`` and return what to say.

        Raises:
            ConfigError: There is no such command, or it wants something else.
        """
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        if name == "help":
            return HELP
        if name == "new":
            self.begin()
            return "a new conversation\n"
        if name == "system":
            self._system = rest or None
            self.begin()
            return "a new conversation\n"
        if name == "set":
            return self._set(rest)
        if name == "stats":
            return self._stats()
        if name == "html":
            return self._html(rest)
        raise ConfigError(f"no command /{name:.40}; /help lists them")

    def _set(self, rest: str) -> str:
        words = rest.split()
        names = [field.name for field in fields(SamplingParams)]
        if words:
            if len(words) != 2 or words[0] not in (*names, "max_new_tokens"):
                raise ConfigError(
                    f"/set wants one of {', '.join(names)}, max_new_tokens, and a value"
                )
            self._change(words[0], words[1])
        values = {name: getattr(self.sampling, name) for name in names}
        values["max_new_tokens"] = self.max_new_tokens
        return "".join(f"{name} {value}\n" for name, value in values.items())

    def _change(self, name: str, text: str) -> None:
        kind: type = float if name in ("temperature", "top_p", "repetition_penalty") else int
        try:
            value = kind(text)
        except ValueError:
            raise ConfigError(f"{name} wants a number, got {text!r:.40}") from None
        if name == "max_new_tokens":
            if value < 1:
                raise ConfigError(f"max_new_tokens must be >= 1, got {value}")
            self.max_new_tokens = value
            return
        self.sampling = replace(self.sampling, **{name: value})
        self._end_session()

    def _stats(self) -> str:
        sent = sum(len(turn.sent) for turn in self.turns)
        got = sum(len(turn.ids) for turn in self.turns)
        computed = int(self.engine.stats()["prefill_tokens"])
        return (
            f"{len(self.turns)} turns; {sent} tokens sent, {got} answered; {computed} given tokens "
            "computed\n"
        )

    def _html(self, rest: str) -> str:
        if not rest:
            raise ConfigError("/html wants a file name")
        answers = []
        for turn in self.turns:
            body = spell(self.tokenizer, turn.ids, turn.raw_log_probs)
            facts = {"finish reason": turn.finish_reason, "tokens": len(turn.ids)}
            answers.append(Answer(spell(self.tokenizer, turn.sent), Branch(body), facts))
        try:
            return f"{write_transcript(Path(rest), answers, 'Conversation')}\n"
        except OSError as error:
            raise ConfigError(f"{rest}: cannot be written ({error.strerror})") from None


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C instead of raising: an engine must not be left in the middle of a step."""
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)


def converse(chat: Chat, lines: Iterator[str], say: Callable[[str], object]) -> None:
    """Hold a conversation until the lines end or one says ``/quit``.

    Args:
        chat: The conversation.
        lines: What the person types.
        say: Takes what is not the model's: results of commands, errors.
    """
    for line in lines:
        text = line.strip()
        if not text:
            continue
        if text.split()[0] in ("/quit", "/exit"):
            return
        try:
            if text.startswith("/"):
                say(chat.command(text))
                continue
            turn = chat.ask(text)
            chat._write("\n")
            if turn.finish_reason in ("length", "interrupted"):
                say(f"[{turn.finish_reason}]\n")
        except RlcoreError as error:
            say(f"error: {error}\n")
