"""Prompts from a file or the command line, answers as text, JSON lines or a page."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from experiments.transcript import Answer, Branch, Fork, Token, spell
from rlcore.data.tokenizers import Tokenizer
from rlcore.data.tokenizers.chat import encode_chat
from rlcore.errors import ConfigError, RlcoreError
from rlcore.inference.errors import RequestError
from rlcore.inference.llm import LLM, Generated
from rlcore.inference.prompts import encode_prompt
from rlcore.inference.request import check_ids
from rlcore.inference.scoring import alternatives
from rlcore.inference.serving.answers import token_text
from rlcore.inference.trace import BranchSpan, ParallelTrace

MAX_LINE = 16 << 20
TOP = 5


@dataclass(frozen=True)
class Prompt:
    """A prompt, the record that it came in, and the file and line of that, if any."""

    ids_or_text: str | list[int]
    record: Mapping[str, Any]
    place: str = ""


def read_prompts(lines: Iterable[str], source: str, tokenizer: Tokenizer | None) -> list[Prompt]:
    """Read JSON lines, each with ``prompt`` (text or ids) or ``messages``.

    Further keys of a line are carried to its answers.

    Raises:
        ConfigError: A line is no such record; the message names it.
        TokenizerError: Messages cannot be laid out.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{source}, line {number}"
        try:
            if len(line) > MAX_LINE:
                raise ValueError(f"longer than {MAX_LINE} characters")
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place}: not JSON: {error!s:.120}") from None
        if not isinstance(record, dict) or ("prompt" in record) == ("messages" in record):
            raise ConfigError(f"{place}: wanted an object with either prompt or messages")
        found.append(Prompt(_prompt(record, place, tokenizer), record, place))
    if not found:
        raise ConfigError(f"{source}: holds no prompt")
    return found


def _prompt(record: Mapping[str, Any], place: str, tokenizer: Tokenizer | None) -> str | list[int]:
    if "messages" in record:
        messages = record["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise ConfigError(f"{place}: messages must be a list of objects")
        return chat_ids(tokenizer, messages)
    prompt = record["prompt"]
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not all(type(i) is int for i in prompt):
        raise ConfigError(f"{place}: prompt must be a text or a list of token ids")
    return list(prompt)


def prompt_ids(prompts: Iterable[Prompt], llm: LLM) -> list[list[int]]:
    """Return the token ids of prompts.

    Raises:
        ConfigError: One of them is empty, or cannot be spelled in the model's vocabulary; the
            message names its place.
    """
    found = []
    for prompt in prompts:
        try:
            ids = encode_prompt(llm.tokenizer, prompt.ids_or_text)
            check_ids(ids, llm.model.config.vocab_size, "prompt")
            if not ids and llm.model.config.causal:
                raise RequestError("the prompt has no tokens, wanted at least one")
        except RlcoreError as error:
            raise ConfigError(f"{prompt.place}: {error}" if prompt.place else str(error)) from None
        found.append(ids)
    return found


def chat_ids(tokenizer: Tokenizer | None, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the ids of a conversation.

    Raises:
        ConfigError: There is no tokenizer.
    """
    if tokenizer is None:
        raise ConfigError("a conversation needs a tokenizer, and the folder has none")
    return encode_chat(tokenizer, messages)


def answer_record(prompt: Prompt, answer: Generated) -> dict[str, Any]:
    """Return what is written for an answer: its prompt's record and what was generated."""
    new = {
        "sample": answer.sample,
        "text": answer.text,
        "token_ids": answer.token_ids,
        "log_probs": answer.log_probs,
        "finish_reason": answer.finish_reason,
    }
    return {**prompt.record, **new}


def write_records(out: TextIO, records: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    for record in records:
        out.write(json.dumps(record, ensure_ascii=False) + "\n")
    out.flush()


def terminal_text(text: str) -> str:
    """Return text that cannot move the cursor, change colours or the direction of writing."""
    return "".join(
        f"\\u{ord(letter):04x}"
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\n\t"
        else letter
        for letter in text
    )


# -- transcripts ----------------------------------------------------------------------------------


def transcript_answer(llm: LLM, answer: Generated) -> Answer:
    """Return an answer as a transcript shows it, with alternatives where there are no forks."""
    facts = {
        "finish reason": answer.finish_reason,
        "tokens": len(answer.token_ids),
        "passes": answer.passes,
        "mean log p": _mean(answer.raw_log_probs or answer.log_probs),
    }
    prompt = spell(llm.tokenizer, answer.prompt_ids)
    trace = answer.trace
    if trace is None:
        steps = [step if step >= 0 else None for step in answer.commit_steps or []]
        body = spell(llm.tokenizer, answer.token_ids, answer.log_probs, steps)
        return Answer(prompt, Branch(body, finish_reason=answer.finish_reason), facts)
    if trace.n_forks:
        facts |= {"forks": trace.n_forks, "degree": trace.degree}
        tokens = _trace_tokens(llm.tokenizer, trace)
        return Answer(prompt, _branch(trace.tree, tokens, trace.prompt_tokens), facts)
    raw = answer.raw_log_probs or []
    ranked = alternatives(llm.model, answer.prompt_ids, answer.token_ids, TOP)
    body = [
        _with_alternatives(token, drawn, others, llm.tokenizer)
        for token, drawn, others in zip(
            spell(llm.tokenizer, answer.token_ids, raw), answer.log_probs, ranked, strict=True
        )
    ]
    return Answer(prompt, Branch(body, finish_reason=answer.finish_reason), facts)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _with_alternatives(
    token: Token, drawn: float, others: Sequence[tuple[int, float]], tokenizer: Tokenizer | None
) -> Token:
    ids = [number for number, _ in others]
    named = tuple(
        (str(number) if tokenizer is None else token_text(tokenizer, number), log_prob)
        for number, log_prob in others
    )
    rank = ids.index(token.id) + 1 if token.id in ids else None
    return Token(token.id, token.text, token.log_prob, drawn, named, rank)


def _trace_tokens(tokenizer: Tokenizer | None, trace: ParallelTrace) -> list[Token]:
    raw = [
        value if drawn else None
        for value, drawn in zip(trace.raw_log_probs.tolist(), trace.drawn.tolist(), strict=True)
    ]
    return spell(tokenizer, trace.ids.tolist(), raw, None, trace.forced.tolist())


def _branch(span: BranchSpan, tokens: Sequence[Token], start: int) -> Branch:
    parts: list[Token | Fork] = []
    at = max(span.start, start)
    for fork in span.forks:
        parts += tokens[at : fork.start]
        branches = [_branch(child, tokens, start) for child in fork.children]
        parts.append(Fork(branches, fork.joined))
        at = fork.stop
    parts += tokens[at : span.stop]
    return Branch(parts, finish_reason=span.finish_reason or "")


def decoding_settings(path: Path | None) -> dict[str, Any] | None:
    """Return the settings of a masked-diffusion decoder in a YAML file.

    Raises:
        ConfigError: The file is no mapping, or no YAML of the safe kind.
    """
    if path is None:
        return None
    from experiments.loader import read_files

    return dict(read_files([path]).data)
