"""What one call of generation gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rlcore.inference.trace import ParallelTrace


@dataclass(frozen=True, eq=False)
class Generated:
    """One answer.

    Attributes:
        prompt_index: Which prompt it answers.
        sample: Which of its ``n`` answers.
        prompt_ids: The prompt's tokens.
        token_ids: The answer's tokens, an end token included. With forks they stand in the
            canonical order, branch after branch, forced tags included.
        log_probs: Log-probability in nats of each under the law that it was drawn from; at
            temperature 0, where that law is certain, under the model itself. 0 for forced tokens.
        raw_log_probs: Under the softmax of the model's logits. A masked-diffusion model has
            ``log_probs`` alone.
        finish_reason: ``stop``, ``length``, or what ended a request with forks.
        text: The text, without special tokens and without a stop string; ``None`` where there is no
            tokenizer.
        trace: Positions, forks, versions of the weights; ``None`` for masked diffusion.
        commit_steps: Masked diffusion: the pass in which each token was committed.
        passes: How often the model was run for it.
    """

    prompt_index: int
    sample: int
    prompt_ids: list[int]
    token_ids: list[int]
    log_probs: list[float]
    raw_log_probs: list[float] | None
    finish_reason: str
    text: str | None = None
    trace: ParallelTrace | None = None
    commit_steps: list[int] | None = None
    passes: int = 0


def occurrences(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Return how many equal prompts stand before each."""
    seen: Counter[tuple[int, ...]] = Counter()
    numbers = []
    for prompt in prompts:
        key = tuple(prompt)
        numbers.append(seen[key])
        seen[key] += 1
    return numbers
