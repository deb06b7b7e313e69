"""What a caller asks of the engine."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from rlcore.errors import ConfigError
from rlcore.inference.config import InvalidFork, SamplingParams, is_count
from rlcore.inference.errors import RequestError

if TYPE_CHECKING:
    from rlcore.inference.tags import TagSchema
    from rlcore.inference.trace import ParallelTrace

MAX_SAMPLES = 1 << 16
"""Most answers to one prompt."""
FinishReason = Literal["stop", "length", "closed", "invalid_fork", "dropped", "aborted"]
"""Why a branch ended: a stop token or sequence, a budget, its closing tag, a fork that the schema
refuses, :meth:`BranchHandle.drop`, :meth:`RequestHandle.abort`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelOptions:
    """Whether and how tokens of the model fork and join branches.

    Attributes:
        schema: The tags.
        max_branches: Most branches of a fork; null for the schema's.
        max_depth: Deepest nesting; null for the schema's.
        min_fork_budget: A fork wants this many tokens left.
        on_invalid: Whether a request whose fork is refused stops, or goes on in sequence.
    """

    schema: TagSchema
    max_branches: int | None = None
    max_depth: int | None = None
    min_fork_budget: int = 32
    on_invalid: InvalidFork = "stop"

    def __post_init__(self) -> None:
        for name in ("max_branches", "max_depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"parallel.{name} must be >= 1 or null, got {value}")
        if self.min_fork_budget < 0:
            raise ConfigError(f"parallel.min_fork_budget must be >= 0, got {self.min_fork_budget}")
        if self.on_invalid not in ("continue", "stop"):
            raise ConfigError(
                f"parallel.on_invalid must be continue or stop, got {self.on_invalid!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt and what to do with it.

    Attributes:
        prompt: Token ids, or the trace of an earlier request to go on from: its branches and joins
            are kept.
        max_new_tokens: Most new tokens of a sample, forced ones included, summed over branches.
        max_path_tokens: Most new tokens along the longest path; null for ``max_new_tokens``.
        sampling: How tokens are drawn.
        n: Samples; they share the prompt's blocks.
        stop_ids: A branch ends with any of these tokens.
        stop_sequences: Or when its new tokens end with one of these.
        parallel: Lets the model's tags fork and join; null for plain generation.
        keep: Whether the blocks stay when the request stops, to be forked or extended later.
    """

    prompt: Sequence[int] | ParallelTrace
    max_new_tokens: int
    max_path_tokens: int | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    n: int = 1
    stop_ids: Sequence[int] = ()
    stop_sequences: Sequence[Sequence[int]] = ()
    parallel: ParallelOptions | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        if not hasattr(self.prompt, "__len__") or len(self.prompt) == 0:
            raise RequestError("a request wants a prompt of at least one token, got none")
        for name in ("max_new_tokens", "n"):
            value = getattr(self, name)
            if not is_count(value):
                raise RequestError(f"{name} must be an integer >= 1, got {value!r:.40}")
        if self.n > MAX_SAMPLES:
            raise RequestError(f"n must be at most {MAX_SAMPLES}, got {self.n}")
        path = self.max_path_tokens
        if path is not None and not is_count(path):
            raise RequestError(f"max_path_tokens must be an integer >= 1 or null, got {path!r:.40}")
        if any(len(sequence) == 0 for sequence in self.stop_sequences):
            raise RequestError("a stop sequence wants at least one token, got an empty one")

    @property
    def path_limit(self) -> int:
        """Most new tokens along the longest path."""
        limit = self.max_path_tokens
        return self.max_new_tokens if limit is None else min(limit, self.max_new_tokens)

    def prompt_ids(self) -> Sequence[int]:
        """Return the prompt's ids, in canonical order."""
        given: Any = getattr(self.prompt, "ids", self.prompt)  # those of a trace
        ids: Sequence[int] = given if isinstance(given, Sequence) else given.tolist()
        return ids

    def checked_ids(self, vocab_size: int) -> array[int]:
        """Return the prompt's ids, in canonical order.

        Raises:
            RequestError: One of them, or of the ids that stop a branch, is not in the vocabulary.
        """
        prompt = self.prompt_ids()
        check_ids(prompt, vocab_size, "prompt")
        check_ids(self.stop_ids, vocab_size, "stop_ids")
        for i, ids in enumerate(self.stop_sequences):
            check_ids(ids, vocab_size, f"stop_sequences[{i}]")
        return array("q", prompt)


def check_ids(ids: Sequence[int], vocab_size: int, name: str) -> None:
    """Raise ``RequestError`` unless all ``ids`` are integers in the vocabulary."""
    check_integers(ids, name)
    if len(ids) and not (min(ids) >= 0 and max(ids) < vocab_size):
        index = next(i for i, token in enumerate(ids) if not 0 <= token < vocab_size)
        raise RequestError(
            f"{name}[{index}] is {ids[index]}, wanted a token id in 0..{vocab_size - 1}"
        )


def check_integers(ids: Iterable[object], name: str) -> None:
    """Raise ``RequestError`` unless all ``ids`` are integers."""
    if not set(map(type, ids)) <= {int}:
        wrong = [x for x in ids if isinstance(x, bool) or not isinstance(x, Integral)]
        if wrong:
            raise RequestError(f"{name} wants integer token ids, got {wrong[0]!r:.80}")
