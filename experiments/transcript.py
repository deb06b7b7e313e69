"""What a transcript shows: probabilities of tokens, forks and joins, order of commitment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rlcore.data.tokenizers.protocol import Tokenizer
from rlcore.data.tokenizers.streaming import TextStream


@dataclass(frozen=True, slots=True)
class Token:
    """One token as people see it.

    Attributes:
        id: Its id.
        text: What it adds to the text; empty where a character is not yet complete.
        log_prob: Log-probability under the raw model, in nats; ``None`` if unknown.
        drawn_log_prob: Under the distribution that it was drawn from (after temperature, top-p...).
        alternatives: ``(text, log-probability)`` of the most probable tokens in its place.
        rank: Its own number among them, from 1; ``None`` where it is not among them.
        forced: It was written by a rule (a tag, a label), not chosen by the model.
        step: The step in which masked diffusion committed it.
    """

    id: int
    text: str
    log_prob: float | None = None
    drawn_log_prob: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    rank: int | None = None
    forced: bool = False
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """Branches that were generated side by side; what follows sees them all, if they joined."""

    branches: Sequence[Branch]
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of generation: tokens and forks in their order."""

    parts: Sequence[Token | Fork]
    label: str = ""
    finish_reason: str = ""

    def tokens(self) -> Iterator[Token]:
        """Yield all tokens, those of inner branches too."""
        for part in self.parts:
            if isinstance(part, Token):
                yield part
            else:
                for branch in part.branches:
                    yield from branch.tokens()


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and what a model made of it."""

    prompt: Sequence[Token]
    body: Branch
    facts: Mapping[str, object] = field(default_factory=dict)


def spell(
    tokenizer: Tokenizer | None,
    ids: Sequence[int],
    log_probs: Sequence[float | None] | None = None,
    steps: Sequence[int | None] | None = None,
    forced: Sequence[bool] | None = None,
) -> list[Token]:
    """Return tokens with the text that each adds; without a tokenizer, with their ids.

    Raises:
        ValueError: The lists differ in length.
    """
    texts = [f"{number} " for number in ids] if tokenizer is None else _texts(tokenizer, ids)
    nothing: list[None] = [None] * len(ids)
    rows = zip(
        ids,
        texts,
        nothing if log_probs is None else log_probs,
        nothing if steps is None else steps,
        [False] * len(ids) if forced is None else forced,
        strict=True,
    )
    return [Token(int(i), t, log_prob=lp, step=s, forced=f) for i, t, lp, s, f in rows]


def _texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    stream = TextStream(tokenizer, skip_special=False)
    texts = [stream.push([number]) for number in ids]
    rest = stream.finish()
    if texts:
        texts[-1] += rest
    return texts
