"""Answers of masked-diffusion models, in the form in which causal models give theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlcore.data.tokenizers import Tokenizer
from rlcore.errors import ConfigError
from rlcore.inference.config import SamplingParams, is_count
from rlcore.inference.errors import RequestError
from rlcore.inference.generated import Generated, occurrences
from rlcore.inference.request import MAX_SAMPLES, ParallelOptions, check_ids
from rlcore.inference.stop_watch import WatchedText
from rlcore.nn.transformer.model import Transformer

if TYPE_CHECKING:
    from rlcore.inference.decoding import DecodeResult


def check_diffusion(
    parallel: ParallelOptions | None, path: int | None, ignore_eos: bool, penalty: float
) -> None:
    """Refuse settings of causal generation.

    Raises:
        ConfigError: One of them was given.
    """
    for name, given in (
        ("parallel", parallel is not None),
        ("max_path_tokens", path is not None),
        ("ignore_eos", ignore_eos),
        ("repetition_penalty", penalty != 1.0),
    ):
        if given:
            raise ConfigError(f"{name} is for causal models; this one is a masked-diffusion model")


def diffuse(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    length: int,
    sampling: SamplingParams,
    *,
    n: int,
    stops: tuple[str, ...],
    decoding: Mapping[str, Any] | None,
    max_rows: int,
    tokenizer: Tokenizer | None,
) -> list[Generated]:
    """Answer prompts, ``n`` answers of each in a row.

    Args:
        model: The masked-diffusion model.
        prompts: Token ids.
        length: Of an answer, before it is cut at its end token.
        sampling: Temperature, truncation and seed.
        n: Answers to each prompt.
        stops: Texts that end an answer.
        decoding: Settings of the decoder; they come before those of ``sampling``.
        max_rows: Answers that are decoded together.
        tokenizer: Spells the answers, or ``None``.
    """
    from rlcore.inference.decoding import PromptBatch, TransformerDenoiser, build_decoder
    from rlcore.inference.decoding.pipeline import LONGEST

    if not (is_count(n) and n <= MAX_SAMPLES and is_count(length) and length <= LONGEST):
        raise RequestError(
            f"wanted n from 1 to {MAX_SAMPLES} and max_new_tokens from 1 to {LONGEST}, got "
            f"n={n!r:.40} and max_new_tokens={length!r:.40}"
        )
    if not isinstance(decoding or {}, Mapping):
        raise ConfigError(f"decoding wants a mapping, got {decoding!r:.60}")
    if not prompts:
        return []
    for number, prompt in enumerate(prompts):
        check_ids(prompt, model.config.vocab_size, f"prompt {number}: prompt")
        if model.config.mask_id in prompt:
            raise RequestError(
                f"prompt {number} holds the mask token {model.config.mask_id}, which only decoding "
                "may use"
            )
    settings = {"temperature": sampling.temperature, **(decoding or {})}
    laws = list(settings.get("logit_transforms") or [])
    laws += [{"name": "top_k", "k": sampling.top_k}] if sampling.top_k else []
    laws += [{"name": "top_p", "p": sampling.top_p}] if sampling.top_p < 1.0 else []
    denoiser: Any = TransformerDenoiser(model)
    pipeline = build_decoder({**settings, "logit_transforms": laws}, denoiser)
    device = next(model.parameters()).device
    numbers = occurrences(prompts)
    answers: list[Generated] = []
    step = max(1, max_rows // n)
    for start in range(0, len(prompts), step):
        part = slice(start, start + step)
        batch = PromptBatch.from_lists(prompts[part], row_ids=numbers[part], device=device)
        result = pipeline.generate(batch.repeat(n), length, seed=sampling.seed)
        for row in range(len(result.tokens)):
            index, sample = start + row // n, row % n
            answers.append(_answer(result, row, (index, sample), prompts[index], stops, tokenizer))
    return answers


def _answer(
    result: DecodeResult,
    row: int,
    number: tuple[int, int],
    prompt: Sequence[int],
    stops: tuple[str, ...],
    tokenizer: Tokenizer | None,
) -> Generated:
    length = int(result.useful_length()[row])
    ids = result.tokens[row, :length].tolist()
    ended = result.eos_id is not None and ids[-1:] == [result.eos_id]
    text = None
    if tokenizer is not None:
        text = tokenizer.decode(ids, skip_special=True, errors="replace")
        watched = WatchedText(tokenizer, stops)
        if stops and any(map(watched.take, ids)):
            ids, text = ids[: watched.tokens], watched.text
            length, ended = watched.tokens, True
    return Generated(
        prompt_index=number[0],
        sample=number[1],
        prompt_ids=list(prompt),
        token_ids=ids,
        log_probs=result.log_probs[row, :length].tolist(),
        raw_log_probs=None,
        finish_reason="stop" if ended else "length",
        text=text,
        commit_steps=result.commit_step[row, :length].tolist(),
        passes=int(result.nfe[row]),
    )
