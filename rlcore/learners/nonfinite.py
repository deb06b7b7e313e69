"""What was not finite: for the message of the error that stops a run, and for a kept bad batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlcore.learners.flat import FlatParameters


@dataclass(frozen=True, slots=True)
class BadTensor:
    """A tensor that is not finite.

    Attributes:
        name: What it is, for example ``batch['reward']`` or ``the gradient of 'head.weight'``.
        entries: How many of its entries are not finite.
        size: How many it has.
        first: Index of the first of them; ``()`` for a scalar.
    """

    name: str
    entries: int
    size: int
    first: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BadUpdate:
    """An update that was left out, as its learner saw it.

    Attributes:
        batches: What the loss was computed from.
        version: Updates applied before it.
        loss: The mean loss.
        grad_norm: The gradient's norm before clipping.
        tensors: What was not finite, causes before effects.
    """

    batches: Sequence[Any]
    version: int
    loss: float
    grad_norm: float
    tensors: tuple[BadTensor, ...]


def bad_tensors(
    flat: FlatParameters, loss: Tensor | None, batches: Sequence[Mapping[str, Any]] = ()
) -> Iterator[BadTensor]:
    """Find the tensors that are not finite, in the order of cause and effect.

    Args:
        flat: Parameters, and the last gradient.
        loss: The last loss.
        batches: What it was computed from. Entries of minus infinity are let pass there: a
            log-probability may be that.
    """
    for batch in batches:
        for name, value in batch.items() if isinstance(batch, Mapping) else ():
            if isinstance(value, Tensor) and value.is_floating_point():
                yield from _bad(f"batch[{name!r}]", value.isnan() | value.isposinf())
    for name, view in flat.named(flat.theta).items():
        yield from _bad(f"the parameter {name!r}", view.isfinite().logical_not())
    if loss is not None:
        yield from _bad("the loss", loss.isfinite().logical_not())
    for name, view in flat.named(flat.grad).items():
        yield from _bad(f"the gradient of {name!r}", view.isfinite().logical_not())


def _bad(name: str, bad: Tensor) -> Iterator[BadTensor]:
    entries = int(torch.count_nonzero(bad))
    if entries:
        first = tuple(int(i) for i in bad.nonzero()[0])
        yield BadTensor(name, entries, bad.numel(), first)


def first_bad(
    flat: FlatParameters, loss: Tensor | None, batches: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return the first tensor of :func:`bad_tensors` in words, in a batch with its place."""
    found = next(bad_tensors(flat, loss, batches), None)
    if found is None:
        return "the gradient norm"
    if found.name.startswith("batch"):
        return f"{found.name} at [{', '.join(map(str, found.first))}]"
    return found.name
