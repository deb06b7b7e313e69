"""OpenAI's requests: from JSON to what the engine needs.

Two fields go beyond the protocol: ``top_k`` and ``repetition_penalty`` for sampling, and
``return_token_ids``, which adds the ids of each answer. What would change the answer and is not
supported is refused by name, never ignored.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlcore.data.tokenizers import Tokenizer, TokenizerError
from rlcore.data.tokenizers.chat import encode_chat
from rlcore.inference.config import (
    MAX_PENALTY,
    MAX_TOP_K,
    MIN_PENALTY,
    MIN_TEMPERATURE,
    SamplingParams,
)
from rlcore.inference.prompts import encode_prompt
from rlcore.inference.serving.config import ServeConfig
from rlcore.inference.serving.fields import Fields, wrong
from rlcore.inference.serving.http import HttpError

MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256
MAX_TOP = 20
MAX_MESSAGES = 4096
SEEDS = 1 << 63
_MESSAGE_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one request asks.

    Attributes:
        kind: Which of the two protocols.
        prompts: Token ids of each prompt.
        n: Answers to each.
        max_new_tokens: Tokens of one answer.
        sampling: How tokens are drawn.
        stops: Texts that end an answer.
        stream: Whether the answer comes in events.
        usage_event: Whether a last event tells the counts.
        log_probs: Whether log-probabilities are told.
        top: How many alternatives to each token.
        token_ids: Whether ids are told.
    """

    kind: Literal["completion", "chat"]
    prompts: Sequence[Sequence[int]]
    n: int
    max_new_tokens: int
    sampling: SamplingParams
    stops: tuple[str, ...]
    stream: bool
    usage_event: bool
    log_probs: bool
    top: int
    token_ids: bool


def read_completion(tree: Mapping[str, Any], tokenizer: Tokenizer, limits: ServeConfig) -> Call:
    """Read the body of ``/v1/completions``.

    Raises:
        HttpError: A field is wrong, unknown, not supported or beyond a limit.
    """
    fields = Fields(tree)
    _model(fields, limits)
    prompts = _prompts(fields.take("prompt"), tokenizer)
    wish = fields.take("logprobs")
    if wish is not None and (type(wish) is not int or not 0 <= wish <= MAX_TOP):
        wrong("logprobs", wish, f"an integer from 0 to {MAX_TOP}")
    fields.default_only("best_of", 1)
    fields.default_only("echo", False)
    fields.default_only("suffix", "")
    most = fields.integer("max_tokens", limits.default_new_tokens, 1, limits.max_new_tokens)
    return _call(
        fields, limits, kind="completion", prompts=prompts, max_new_tokens=most,
        log_probs=wish is not None, top=wish or 0,
    )  # fmt: skip


def read_chat(tree: Mapping[str, Any], tokenizer: Any, limits: ServeConfig) -> Call:
    """Read the body of ``/v1/chat/completions``.

    Raises:
        HttpError: A field is wrong, unknown, not supported or beyond a limit.
    """
    fields = Fields(tree)
    _model(fields, limits)
    messages = _messages(fields.take("messages"))
    tools = fields.take("tools")
    if tools is not None and not (
        isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)
    ):
        wrong("tools", tools, "a list of objects")
    fields.default_only("tool_choice", "auto", "none")
    fields.default_only("parallel_tool_calls", True, False)
    fields.default_only("response_format", {"type": "text"})
    fields.default_only("modalities", ["text"])
    log_probs = fields.boolean("logprobs")
    top = fields.integer("top_logprobs", 0, 0, MAX_TOP)
    if top and not log_probs:
        raise HttpError(400, "top_logprobs wants logprobs to be true", param="top_logprobs")
    most = fields.integer("max_tokens", limits.default_new_tokens, 1, limits.max_new_tokens)
    most = fields.integer("max_completion_tokens", most, 1, limits.max_new_tokens)
    try:
        prompt = encode_chat(tokenizer, messages, tools=tools or None)
    except TokenizerError as error:
        raise HttpError(400, str(error), param="messages") from None
    return _call(
        fields, limits, kind="chat", prompts=[prompt], max_new_tokens=most,
        log_probs=log_probs, top=top,
    )  # fmt: skip


def _call(fields: Fields, limits: ServeConfig, **given: Any) -> Call:
    n = fields.integer("n", 1, 1, limits.max_samples)
    sampling = SamplingParams(
        temperature=_temperature(fields),
        top_p=fields.number("top_p", 1.0, 1e-9, 1.0),
        top_k=fields.integer("top_k", 0, 0, MAX_TOP_K),
        repetition_penalty=fields.number("repetition_penalty", 1.0, MIN_PENALTY, MAX_PENALTY),
        seed=fields.integer("seed", secrets.randbelow(SEEDS), -SEEDS, SEEDS - 1),
    )
    stream = fields.boolean("stream")
    usage_event = _stream_options(fields, stream)
    call = Call(
        n=n,
        sampling=sampling,
        stops=fields.strings("stop", MAX_STOPS, MAX_STOP_CHARACTERS),
        stream=stream,
        usage_event=usage_event,
        token_ids=fields.boolean("return_token_ids"),
        **given,
    )
    for name in ("presence_penalty", "frequency_penalty"):
        fields.default_only(name, 0, 0.0)
    fields.default_only("logit_bias", {})
    for name in ("user", "metadata", "store", "safety_identifier"):  # of accounts, not of answers
        fields.take(name)
    fields.finish()
    if stream and call.top:
        raise HttpError(
            400, "alternatives to tokens are told in whole answers only, not in a stream",
            param="logprobs", code="unsupported_parameter",
        )  # fmt: skip
    _check_sizes(call, limits)
    return call


def _temperature(fields: Fields) -> float:
    found = fields.number("temperature", 1.0, 0.0, 100.0)
    if 0.0 < found < MIN_TEMPERATURE:
        wrong("temperature", found, f"0, or a number from {MIN_TEMPERATURE:g}")
    return found


def _stream_options(fields: Fields, stream: bool) -> bool:
    options = fields.take("stream_options")
    if options is None:
        return False
    if not stream or not isinstance(options, dict):
        wrong("stream_options", options, "an object, and only with stream")
    inner = Fields(options, "stream_options.")
    wish = inner.boolean("include_usage")
    inner.finish()
    return wish


def _check_sizes(call: Call, limits: ServeConfig) -> None:
    if len(call.prompts) * call.n > limits.max_samples:
        raise HttpError(
            400, f"{len(call.prompts)} prompts times n={call.n} answers; the limit is "
            f"{limits.max_samples}", param="n",
        )  # fmt: skip
    longest = max(map(len, call.prompts))
    if longest > limits.max_prompt_tokens:
        raise HttpError(
            400, f"the prompt has {longest} tokens; the limit is {limits.max_prompt_tokens}",
            param="messages" if call.kind == "chat" else "prompt", code="context_length_exceeded",
        )  # fmt: skip


def _model(fields: Fields, limits: ServeConfig) -> None:
    name = fields.string("model", limits.model_name)
    if name != limits.model_name:
        raise HttpError(
            404, f"there is no model {name!r:.80}; this server has {limits.model_name!r}",
            param="model", code="model_not_found",
        )  # fmt: skip


def _prompts(value: Any, tokenizer: Tokenizer) -> list[list[int]]:
    """Read one prompt or several, as text or as ids."""
    if isinstance(value, str) or _all_ids(value):
        value = [value]
    if not isinstance(value, list) or not value:
        wrong("prompt", value, "a string, token ids, or a non-empty list of either")
    return [_prompt(one, tokenizer) for one in value]


def _prompt(value: Any, tokenizer: Tokenizer) -> list[int]:
    if isinstance(value, str):
        try:
            return encode_prompt(tokenizer, value)
        except TokenizerError as error:
            raise HttpError(400, str(error), param="prompt") from None
    if not _all_ids(value):
        wrong("prompt", value, "a string or a non-empty list of token ids")
    return list(value)


def _all_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) is int for v in value)


def _messages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_MESSAGES:
        wrong("messages", value, f"a list of 1 to {MAX_MESSAGES} messages")
    return [_message(message, f"messages[{n}]") for n, message in enumerate(value)]


def _message(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        wrong(place, value, "an object")
    role, content = value.get("role"), value.get("content")
    if role not in _MESSAGE_ROLES:
        wrong(f"{place}.role", role, f"one of {', '.join(_MESSAGE_ROLES)}")
    if isinstance(content, list):
        content = "".join(_part(part, f"{place}.content[{n}]") for n, part in enumerate(content))
    elif content is None and role == "assistant":
        content = ""
    elif not isinstance(content, str):
        wrong(f"{place}.content", content, "a string or a list of text parts")
    return {**value, "content": content}


def _part(value: Any, place: str) -> str:
    if not isinstance(value, dict) or value.get("type") != "text":
        wrong(place, value, "a part of the type text")
    text = value.get("text")
    return text if isinstance(text, str) else wrong(f"{place}.text", text, "a string")
