"""How sure the model is of each window position; the order in which positions are committed.

Confidence comes from the untempered distribution, whatever temperature tokens are drawn at. With
``of: sample`` it is that of the drawn token: then the choice of positions depends on the drawn
values, and the law of a *committed* token is not the model's softmax. With ``of: distribution`` the
choice looks at the distribution alone and every committed token has the model's law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.inference.decoding.noise import POSITION_STREAM, uniform
from rlcore.inference.decoding.state import DecodeState
from rlcore.ops.sampling import HeadStatistics

NAMES = ("prob", "max_prob", "margin", "neg_entropy", "random")
_OF = ("sample", "distribution")


class Drawn(NamedTuple):
    """Tokens of a window and what they were drawn from.

    Attributes:
        positions: int64 ``[R, W]``, response positions.
        eligible: bool ``[R, W]``: in the window, masked, of an active row.
        must_commit: bool ``[R]``: see :class:`rlcore.inference.decoding.planners.Plan`.
        tokens: int64 ``[R, W]``.
        logits: ``[R, W, V]``, untempered, with every logit transform that ranks positions.
        head: Their statistics.
    """

    positions: Tensor
    eligible: Tensor
    must_commit: Tensor
    tokens: Tensor
    logits: Tensor
    head: HeadStatistics


@dataclass(frozen=True)
class Confidence:
    """Confidence of each window position.

    ====================  ===========================================  =======================
    name                  ``of: distribution``                         ``of: sample``
    ====================  ===========================================  =======================
    ``prob``              the largest probability                      that of the drawn token
    ``max_prob``          the largest probability                      -
    ``margin``            largest less second largest                  drawn less best other
    ``neg_entropy``       minus the entropy in nats                    -
    ``random``            uniform in [0, 1)                            -
    ====================  ===========================================  =======================

    Attributes:
        name: One of the table.
        of: ``sample`` or ``distribution``; None takes ``sample`` for ``prob`` and ``distribution``
            for the others.
    """

    name: str = "prob"
    of: str | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"confidence must be one of {NAMES}, got {self.name!r}")
        of = self.of or ("sample" if self.name == "prob" else "distribution")
        if of not in _OF:
            raise ConfigError(f"confidence {self.name}: of must be one of {_OF}, got {of!r}")
        if of == "sample" and self.name not in ("prob", "margin"):
            raise ConfigError(
                f"confidence {self.name} looks at the distribution alone: of must be "
                "'distribution', got 'sample'"
            )
        object.__setattr__(self, "of", of)

    @property
    def of_sample(self) -> bool:
        """Whether the choice of positions depends on the values drawn."""
        return self.of == "sample"

    def __call__(self, drawn: Drawn, state: DecodeState) -> Tensor:
        """Return the confidences ``[R, W]`` in the logits' dtype."""
        head = drawn.head
        if self.name == "random":
            return uniform(state.key, drawn.positions, state.step, POSITION_STREAM).to(
                head.top.dtype
            )
        if self.name == "neg_entropy":
            return -head.entropy
        if not self.of_sample:
            top = (head.top - head.logsumexp).exp()
            return top if self.name != "margin" else top - (head.second - head.logsumexp).exp()
        logit = drawn.logits.gather(-1, drawn.tokens[..., None])[..., 0]
        probability = (logit - head.logsumexp).exp()
        if self.name == "prob":
            return probability
        rival = head.second.where(drawn.tokens == head.top_id, head.top)
        return probability - (rival - head.logsumexp).exp()
