"""Conversations as ids: chat templates, in a sandbox, with no mark that a message could forge.

A template is a Jinja program of the model's directory, so it runs in Jinja's sandbox and under
limits. What people wrote goes into it with a random word in the place of each text that spells a
control token. The marks that then stand in the template's text are its own and become control
tokens; the random words become the ordinary text they stand for.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rlcore.data.tokenizers.protocol import Tokenizer, TokenizerError, split_special
from rlcore.errors import MissingDependencyError

Message = Mapping[str, Any]
MAX_CHARACTERS = 8 << 20
MAX_STEPS = 200_000
_MAX_REPEATED = 1 << 20
_MARKS = 0xFFFD
_FIRST_MARK = 0x100000
# A field this wide in a format is a way to take all memory.
_WIDE = re.compile(r"\d{5}|\*")


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[int]:
    """Return the ids of a conversation.

    Messages of the role ``assistant`` may hold the tokenizer's shown marks (``<think>``); no
    other control token is read from any message.

    Args:
        tokenizer: With a chat template.
        messages: Each with ``role`` and ``content``.
        add_generation_prompt: End with what begins an answer.
        tools: Descriptions of functions, for templates that know them.
        options: Further variables of the template.

    Raises:
        TokenizerError: There is no template, it fails, or it does more than the limits allow.
        MissingDependencyError: The package ``jinja2`` is not installed.
    """
    if tokenizer.chat_template is None:
        raise TokenizerError("this tokenizer has no chat template")
    guard = _Guard(tokenizer)
    variables = {
        **{f"{role}_token": text for role, text in tokenizer.specials.roles().items()},
        **(options or {}),
        "messages": [guard.message(message) for message in messages],
        "tools": guard.tools(tools),
        "add_generation_prompt": add_generation_prompt,
    }
    return guard.encode(render(tokenizer.chat_template, variables))


def encode_turn(
    tokenizer: Tokenizer, messages: Sequence[Message], *, ended_with: int | None
) -> list[int]:
    """Return the ids that follow the last answer of a conversation, up to the next answer.

    What was generated stays as it is, token by token: only what the template puts behind it, the
    messages after it and the beginning of the next answer are laid out.

    Args:
        tokenizer: With a chat template.
        messages: The conversation; its last message of the role ``assistant`` is that answer.
        ended_with: The answer's last token: where the template ends answers with it, it is not
            repeated.

    Raises:
        TokenizerError: There is no answer, or the template does not keep it in its place.
    """
    if tokenizer.chat_template is None:
        raise TokenizerError("this tokenizer has no chat template")
    places = [n for n, message in enumerate(messages) if message.get("role") == "assistant"]
    if not places:
        raise TokenizerError("a turn follows an answer, and the conversation has none")
    guard = _Guard(tokenizer)
    covered = [guard.message(message) for message in messages]
    covered[places[-1]] = {"role": "assistant", "content": guard.answer}
    names = {f"{role}_token": text for role, text in tokenizer.specials.roles().items()}
    variables = {**names, "messages": covered, "tools": None, "add_generation_prompt": True}
    text = render(tokenizer.chat_template, variables)
    if text.count(guard.answer) != 1:
        raise TokenizerError("the chat template does not keep an answer in its place")
    ids = guard.encode(text.partition(guard.answer)[2])
    return ids[1:] if ids and ids[0] == ended_with else ids


class _Guard:
    """Covers what people wrote, and reads the control tokens of the rest."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids = {t: n for t, n in tokenizer.specials.ids.items() if not t.isspace()}
        self._texts = sorted(self._ids, key=len, reverse=True)
        if len(self._texts) > _MARKS:
            raise TokenizerError(f"{len(self._texts)} special tokens, wanted at most {_MARKS}")
        # Letters of the private use areas: no text of a template or a person holds this word.
        self._word, self.answer = _random_word(), _random_word()
        shown = tokenizer.specials.shown
        self._everyone = _Cover(self._texts)
        self._assistant = _Cover([t for t in self._texts if self._ids[t] not in shown])
        self._covered = False

    def message(self, message: Message) -> Any:
        """Return a message in which no text spells a control token that is not allowed there."""
        trusted = message.get("role") == "assistant"
        return self._value(dict(message), self._assistant if trusted else self._everyone)

    def tools(self, tools: Sequence[Mapping[str, Any]] | None) -> Any:
        """Return descriptions of functions in which no text spells a control token."""
        return None if tools is None else self._value(list(tools), self._everyone)

    def _value(self, value: Any, cover: _Cover) -> Any:
        if isinstance(value, str):
            return self._text(value, cover)
        if isinstance(value, Mapping):
            return {self._text(str(k), cover): self._value(v, cover) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(item, cover) for item in value]
        return value

    def _text(self, text: str, cover: _Cover) -> str:
        out = cover.pattern.sub(self._mark, text) if cover.pattern else text
        # What a text ends or begins with must not become a token with what stands beside it.
        inside = bool(out) and any(out in token for token in cover.texts)
        if inside or any(out[-n:] in cover.heads for n in range(1, cover.longest)):
            out += self._word
        if any(out[:n] in cover.tails for n in range(1, cover.longest)):
            out = self._word + out
        self._covered |= out != text
        return out

    def _mark(self, match: re.Match[str]) -> str:
        return self._word + chr(_FIRST_MARK + self._texts.index(match[0]))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendered template."""
        if not self._covered:
            return self._tokenizer.encode(text, special=True)
        ids: list[int] = []
        marks = re.compile(f"{self._word}([{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + _MARKS)}]?)")
        for piece in split_special(text, self._ids):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._tokenizer.encode(marks.sub(self._unmark, piece))
        return ids

    def _unmark(self, match: re.Match[str]) -> str:
        return self._texts[ord(match[1]) - _FIRST_MARK] if match[1] else ""


def _random_word() -> str:
    return "".join(chr(0xF0000 + secrets.randbelow(_MARKS)) for _ in range(8))


class _Cover:
    """Finds control tokens, and the beginnings and ends of them."""

    def __init__(self, texts: Sequence[str]):
        self.texts = texts
        self.pattern = re.compile("|".join(map(re.escape, texts))) if texts else None
        self.heads = {text[:n] for text in texts for n in range(1, len(text))}
        self.tails = {text[n:] for text in texts for n in range(1, len(text))}
        self.longest = max(map(len, texts), default=0)


# -- the sandbox ----------------------------------------------------------------------------------


@dataclass
class _Steps:
    """Counts what a template does."""

    left: int = field(default=MAX_STEPS)

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TokenizerError(f"the chat template takes more than {MAX_STEPS} steps")

    def items(self, values: Any) -> Any:
        for value in values:
            self.take()
            yield value


def render(source: str, variables: Mapping[str, Any]) -> str:
    """Run a chat template in a sandbox.

    It can read its variables and nothing else: no attribute that begins with an underscore, no
    file, no module. Loops, calls and the length of the text are limited.

    Args:
        source: Jinja, in the dialect of chat templates: loop controls, ``tojson`` without escapes,
            ``raise_exception``, ``strftime_now``.
        variables: What it may read.

    Raises:
        TokenizerError: It is not valid, refuses the conversation, or exceeds a limit.
        MissingDependencyError: The package ``jinja2`` is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingDependencyError(
            "chat templates need the package 'jinja2': pip install 'rlcore[llm]'"
        ) from None
    steps = _Steps()
    try:
        template = _compiled(_environment(steps), source)
        return _joined(template.generate(**variables))
    except (jinja2.TemplateError, RecursionError, TypeError, ValueError, LookupError) as error:
        if isinstance(error, TokenizerError):
            raise
        kind = type(error).__name__
        raise TokenizerError(f"the chat template fails ({kind}): {error!s:.300}") from None
    except (ArithmeticError, AttributeError) as error:
        raise TokenizerError(f"the chat template fails: {error!s:.300}") from None


def _joined(parts: Iterable[str]) -> str:
    out, length = [], 0
    for part in parts:
        length += len(part)
        if length > MAX_CHARACTERS:
            raise TokenizerError(f"the chat template gives more than {MAX_CHARACTERS} characters")
        out.append(part)
    return "".join(out)


def _environment(steps: _Steps) -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call(self, context: Any, callee: Any, *args: Any, **kwargs: Any) -> Any:
            steps.take()
            owner = getattr(callee, "__self__", None)
            if isinstance(owner, str):
                _bounded((owner,) if callee.__name__.startswith("format") else (), args)
            return super().call(context, callee, *args, **kwargs)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(v) if hasattr(v, "__len__") else abs(v) for v in (left, right)]
            both_numbers = not any(hasattr(v, "__len__") for v in (left, right))
            if operator == "**" or (not both_numbers and sizes[0] * sizes[1] > _MAX_REPEATED):
                raise TokenizerError(f"the chat template computes a {operator} that is too large")
            return super().call_binop(context, operator, left, right)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    for name in ("format", "center", "indent", "wordwrap"):
        environment.filters[name] = _bounded_filter(environment.filters[name], name == "format")
    environment.globals["raise_exception"] = _raise(_refused)
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    environment.globals["__items__"] = steps.items
    return environment


def _bounded(formats: Sequence[Any], numbers: Sequence[Any]) -> None:
    """Refuse what would make a huge text of a small one."""
    wide = any(isinstance(f, str) and _WIDE.search(f) for f in formats)
    if wide or any(isinstance(n, int) and n > _MAX_REPEATED for n in numbers):
        raise TokenizerError("the chat template pads a text to a width that is too large")


def _bounded_filter(call: Any, formats: bool) -> Any:
    @functools.wraps(call)  # keeps the marks by which Jinja knows what to pass
    def bounded(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        _bounded(values[:1] if formats else (), () if formats else values)
        return call(*args, **kwargs)

    return bounded


def _raise(error: Callable[[str], Exception]) -> Callable[[str], None]:
    def call(message: str) -> None:
        raise error(message)

    return call


def _refused(message: str) -> Exception:
    return TokenizerError(f"the chat template refuses the conversation: {message!s:.300}")


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _compiled(environment: Any, source: str) -> Any:
    """Compile a template whose loops are counted."""
    from jinja2 import nodes

    tree = environment.parse(source)
    for loop in tree.find_all(nodes.For):
        counter = nodes.Name("__items__", "load")
        loop.iter = nodes.Call(counter, [loop.iter], [], None, None).set_lineno(loop.lineno)
    return environment.from_string(tree)
