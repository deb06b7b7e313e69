"""Answers as JSON: places of tokens in the text, and log-probabilities that JSON can hold."""

from __future__ import annotations

import json
import math

from rlcore.data.tokenizers import ByteTokenizer
from rlcore.inference.serving.answers import LEAST, Answers
from rlcore.inference.serving.config import ServeConfig
from rlcore.inference.serving.wire import read_chat, read_completion

TOKENIZER = ByteTokenizer()


def answers_of(**fields: object) -> Answers:
    call = read_completion({"prompt": "a", "logprobs": 0, **fields}, TOKENIZER, ServeConfig())
    return Answers(call, "model", TOKENIZER)


def test_offsets_are_places_in_the_text_whatever_is_held_back() -> None:
    """Two letters of a stop string are held back, a character of two bytes comes in two tokens."""
    answers = answers_of(stop="xyz")
    choice = answers.choices[0]
    ids = list("axyé!".encode())
    assert choice.push(ids[:2], [-1.0] * 2) == "a"
    assert choice.push(ids[2:], [-1.0] * 4) == "xyé!"
    choice.finish("length")
    (found,) = answers.whole()["choices"]
    assert found["text"] == "axyé!"
    assert found["logprobs"]["text_offset"] == [0, 1, 2, 3, 3, 4]
    assert found["logprobs"]["tokens"] == ["a", "x", "y", "\\xc3", "\\xa9", "!"]


def test_log_probabilities_that_are_no_numbers_become_the_least() -> None:
    chat = read_chat(
        {"messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 2},
        _with_template(), ServeConfig(),
    )  # fmt: skip
    for answers in (answers_of(), Answers(chat, "model", TOKENIZER)):
        choice = answers.choices[0]
        choice.push([97, 98, 99], [-math.inf, math.nan, -2.5])
        choice.alternatives = [[(97, -math.inf)], [(98, math.nan)], [(99, -2.5)]]
        choice.finish("stop")
        text = json.dumps(answers.whole(), allow_nan=False)  # JSON has no infinity
        assert text.count(str(LEAST)) == 4
        assert text.count("-2.5") == 2


def _with_template() -> ByteTokenizer:
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    return tokenizer
