"""Importance weights for tokens that another policy than the learner's has sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.policy_loss.limits import check_choice, check_positive
from rlcore.ops.policy_loss.sequences import Sequences

Kind = Literal["tis", "mis"]


@dataclass(frozen=True, slots=True)
class Correction:
    """How the difference between acting and learning policy is made up for.

    Attributes:
        kind: ``tis`` truncates a token's weight at ``cap``, ``min(pi / mu, cap)``; ``mis`` masks
            tokens whose weight is above ``cap``.
        cap: Largest weight.
        seq_band: Sequences whose geometric mean of ``pi / mu`` over tokens lies outside are
            dropped; ``None`` keeps all.

    Raises:
        ConfigError: A value is out of range.
    """

    kind: Kind = "tis"
    cap: float = 2.0
    seq_band: tuple[float, float] | None = (0.5, 2.0)

    def __post_init__(self) -> None:
        check_choice("correction.kind", self.kind, get_args(Kind))
        check_positive("correction.cap", self.cap)
        if self.seq_band is not None:
            low, high = self.seq_band
            if not 0.0 < low <= 1.0 <= high:
                raise ConfigError(
                    f"correction.seq_band must hold 1 between positive bounds, got {self.seq_band}"
                )


@torch.no_grad()
def correct(
    log_ratio: Tensor, mask: Tensor, sequences: Sequences, correction: Correction
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return each token's weight, the mask without dropped sequences, and metrics.

    Where ``log_ratio`` is 0 everywhere the weights are exactly 1 and nothing is dropped.

    Args:
        log_ratio: ``log pi - log mu`` a token, 0 where ``mask`` is false.
        mask: Sampled tokens, bool.
        sequences: Whose tokens they are.
        correction: Settings.
    """
    ratio = log_ratio.exp()
    over = (ratio > correction.cap) & mask
    if correction.kind == "tis":
        weight = ratio.clamp(max=correction.cap)
    else:
        weight = ratio.masked_fill(over, 0.0)
    kept = mask
    if correction.seq_band is not None:
        low, high = correction.seq_band
        geometric = sequences.mean(log_ratio, mask).exp()
        inside = (geometric >= low) & (geometric <= high)
        kept = mask & sequences.spread(inside)
    count = mask.sum().clamp(min=1).to(ratio.dtype)
    used = weight.masked_fill(~kept, 0.0)
    metrics = {
        "is/clip_frac": over.sum() / count,
        "is/dropped_frac": (mask & ~kept).sum() / count,
        "is/weight_mean": used.sum() / kept.sum().clamp(min=1).to(ratio.dtype),
        "is/weight_max": used.max() if used.numel() else used.sum(),
    }
    return weight, kept, metrics
