"""Changes of logits between the model and the draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.checks import check_count, check_number
from rlcore.inference.decoding.planners import Plan
from rlcore.inference.decoding.state import DecodeState

Affects = Literal["law", "confidence", "both"]


class LogitTransform(Protocol):
    """Maps logits ``[R, W, V]`` to logits.

    Attributes:
        affects: ``law``: tokens are drawn from the result, confidences are not computed from it;
            ``confidence``: the other way round; ``both``. A transform with state keeps it in
            ``state.rows``, which follows its rows.
    """

    @property
    def affects(self) -> Affects:
        """See the class."""
        ...

    def begin(self, state: DecodeState) -> None:
        """Put what the transform needs into the state."""
        ...

    def __call__(
        self, logits: Tensor, plan: Plan, state: DecodeState, temperature: float
    ) -> Tensor:
        """Return new logits; no host synchronisation."""
        ...


@dataclass(frozen=True)
class TopK:
    """Keep the ``k`` largest logits; equals of the ``k``-th stay too.

    Attributes:
        k: How many.
    """

    k: int
    affects: Affects = "law"

    def __post_init__(self) -> None:
        check_count("top_k", "k", self.k)
        _check_affects("top_k", self.affects)

    def begin(self, state: DecodeState) -> None:
        """See :class:`LogitTransform`."""

    def __call__(
        self, logits: Tensor, plan: Plan, state: DecodeState, temperature: float
    ) -> Tensor:
        """See :class:`LogitTransform`."""
        least = logits.topk(min(self.k, logits.shape[-1]), -1).values[..., -1:]
        return logits.masked_fill(logits < least, -torch.inf)


@dataclass(frozen=True)
class TopP:
    """Keep the smallest set of most likely tokens with probability ``p`` at the temperature.

    Attributes:
        p: In (0, 1]; the most likely token always stays.
    """

    p: float
    affects: Affects = "law"

    def __post_init__(self) -> None:
        check_number("top_p", "p", self.p)
        if not 0.0 < self.p <= 1.0:
            raise ConfigError(f"top_p: p must be in (0, 1], got {self.p!r}")
        _check_affects("top_p", self.affects)

    def begin(self, state: DecodeState) -> None:
        """See :class:`LogitTransform`."""

    def __call__(
        self, logits: Tensor, plan: Plan, state: DecodeState, temperature: float
    ) -> Tensor:
        """See :class:`LogitTransform`."""
        if self.p == 1.0:
            return logits
        ranked, order = torch.sort(logits, dim=-1, descending=True, stable=True)
        probability = torch.softmax(ranked / (temperature or 1.0), -1)
        before = probability.cumsum(-1) - probability
        out = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= self.p)
        # The first of the order has nothing before it and stays for every p > 0.
        return logits.masked_fill(out, -torch.inf)


def _check_affects(name: str, affects: str) -> None:
    if affects not in ("law", "confidence", "both"):
        raise ConfigError(f"{name}: affects must be 'law', 'confidence' or 'both', got {affects!r}")
