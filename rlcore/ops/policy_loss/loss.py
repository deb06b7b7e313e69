"""The policy-gradient loss on sampled tokens: one function, whose choices give the family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError
from rlcore.ops.policy_loss.correction import Correction, correct
from rlcore.ops.policy_loss.limits import check_choice, check_positive
from rlcore.ops.policy_loss.metrics import importance_metrics
from rlcore.ops.policy_loss.sequences import Sequences

Ratio = Literal["none", "token", "sequence", "geometric"]
Aggregation = Literal["token_mean", "seq_mean_token_mean", "seq_mean_token_sum"]


@dataclass(frozen=True, slots=True)
class Clip:
    """Range ``[1 - low, 1 + high]`` of the ratio.

    Attributes:
        low: How far below 1.
        high: How far above 1.
        dual: For negative advantages the objective is not let below ``dual * advantage``
            (dual-clip PPO, Ye et al. 2020); more than 1. ``None`` for no such bound.

    Raises:
        ConfigError: A value is out of range.
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None

    def __post_init__(self) -> None:
        check_positive("clip.low", self.low)
        check_positive("clip.high", self.high)
        if self.dual is not None and not self.dual > 1.0:
            raise ConfigError(f"clip.dual must be > 1, got {self.dual}")


def policy_loss(
    logp: Tensor,
    adv: Tensor,
    mask: Tensor,
    *,
    ratio: Ratio = "token",
    clip: Clip | tuple[float, ...] | Mapping[str, Any] | None = None,
    agg: Aggregation = "token_mean",
    behaviour_logp: Tensor | None = None,
    correction: Correction | Mapping[str, Any] | None = None,
    old_logp: Tensor | None = None,
    sequence_ids: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss to minimise (minus the objective) and metrics.

    A token contributes ``w min(r A, clip(r) A)``. The ratio ``r`` is

    ==============  =======================================================================
    ``none``        ``pi / sg[pi]``: 1, with the gradient of REINFORCE (PAPO); never clipped
    ``token``       ``pi / old`` of the token (PPO, GRPO)
    ``sequence``    ``pi / old`` of the whole sequence, a product over its tokens
    ``geometric``   its geometric mean over the tokens (GSPO, Zheng et al. 2025, eq. 7)
    ==============  =======================================================================

    ``old`` is ``old_logp``; else the behaviour policy; else pi itself, without a gradient. The
    weight ``w`` corrects for tokens that mu = ``behaviour_logp`` has sampled: a truncated or masked
    ``pi / mu`` where the ratio is ``none``, and ``old / mu`` elsewhere (the decoupled objective:
    the ratio covers the rest). Where both are equal, ``w`` is exactly 1.

    Tokens are averaged over all (``token_mean``), in each sequence and then over sequences
    (``seq_mean_token_mean``), or summed in each and then averaged (``seq_mean_token_sum``).
    Tokens outside ``mask`` (prompt, padding, tokens that the engine has forced) and sequences
    without a token count nowhere. With no token at all the loss is 0.

    Args:
        logp: Log-probabilities of the sampled tokens under pi, with gradient; padded ``[B, S]``, or
            packed ``[N]`` with ``sequence_ids``.
        adv: Advantages: one a token (the shape of ``logp``) or one a sequence. Packed tokens of as
            many sequences want sequences numbered without gaps, in the order of their tokens.
        mask: Bool, the shape of ``logp``: sampled tokens.
        ratio: Which ratio.
        clip: Range of the ratio; a pair is (low, high).
        agg: How tokens are averaged.
        behaviour_logp: Log-probabilities recorded when the tokens were sampled.
        correction: How to weight by them; ``None`` for not at all.
        old_logp: Log-probabilities that the ratio is taken against.
        sequence_ids: For packed tokens: int ``[N]``, from 0.

    Raises:
        ConfigError: Shapes, dtypes or choices do not fit.
    """
    check_choice("ratio", ratio, get_args(Ratio))
    check_choice("agg", agg, get_args(Aggregation))
    clip, correction = _as_clip(clip), _as_correction(correction)
    if ratio == "none" and clip is not None:
        raise ConfigError(f"ratio 'none' is never clipped, got {clip}; take clip=None")
    if correction is not None and behaviour_logp is None:
        raise ConfigError("a correction needs behaviour_logp, the log-probabilities when acting")
    sequences = Sequences.of(logp, sequence_ids)
    _check_shapes(logp, mask, behaviour_logp, old_logp)
    advantages = _a_token(adv, logp, sequences)
    logp, advantages = logp.masked_fill(~mask, 0.0), advantages.masked_fill(~mask, 0.0)
    old = _old(logp, old_logp, behaviour_logp, mask, ratio)
    metrics: dict[str, Tensor] = {}
    kept, weight = mask, None
    if behaviour_logp is not None:
        behaviour = behaviour_logp.detach().masked_fill(~mask, 0.0)
        metrics |= importance_metrics(logp.detach() - behaviour, mask, mask.sum().to(logp.dtype))
        if correction is not None:
            acted = logp.detach() if ratio == "none" else old
            weight, kept, found = correct(acted - behaviour, mask, sequences, correction)
            metrics |= found
    log_rates = _log_ratios(logp - old, mask, sequences, ratio)
    lost = ~kept if weight is None else ~kept | (weight == 0.0)
    rates = _rates(log_rates.masked_fill(lost, 0.0), advantages, clip)
    objective = _clipped(rates, advantages, clip, kept, metrics)
    if weight is not None:
        objective = weight * objective
    value = _aggregate(objective, kept, sequences, agg)
    metrics["policy/objective"] = value.detach()
    return -value, metrics


def _log_ratios(log_ratio: Tensor, mask: Tensor, sequences: Sequences, ratio: Ratio) -> Tensor:
    if ratio == "sequence":
        return sequences.spread(sequences.sum(log_ratio))
    if ratio == "geometric":
        return sequences.spread(sequences.mean(log_ratio, mask))
    return log_ratio


def _rates(log_rates: Tensor, advantages: Tensor, clip: Clip | None) -> Tensor:
    """Return the ratios, finite where the objective does not grow with them.

    An infinite one would make the gradient, 0 there, to 0 times infinity.
    """
    flat = advantages == 0.0
    limit = math.log(torch.finfo(log_rates.dtype).max) / 2.0
    if clip is not None:
        flat = advantages >= 0.0
        limit = max(limit, math.log1p(clip.high))
        if clip.dual is not None:
            flat = torch.ones_like(flat)
            limit = max(limit, math.log(clip.dual))
    return torch.where(flat, log_rates.clamp(max=limit), log_rates).exp()


def _clipped(
    rates: Tensor, advantages: Tensor, clip: Clip | None, kept: Tensor, metrics: dict[str, Tensor]
) -> Tensor:
    plain = rates * advantages
    if clip is None:
        return plain
    bounded = torch.minimum(plain, rates.clamp(1.0 - clip.low, 1.0 + clip.high) * advantages)
    count = kept.sum().clamp(min=1).to(rates.dtype)
    metrics["policy/clip_frac"] = ((bounded < plain) & kept).sum() / count
    if clip.dual is None:
        return bounded
    floor = torch.where(advantages < 0.0, clip.dual * advantages, -torch.inf)
    metrics["policy/dual_clip_frac"] = ((bounded < floor) & kept).sum() / count
    return torch.maximum(bounded, floor)


def _aggregate(values: Tensor, kept: Tensor, sequences: Sequences, agg: Aggregation) -> Tensor:
    values = values.masked_fill(~kept, 0.0)
    if agg == "token_mean":
        return values.sum() / kept.sum().clamp(min=1).to(values.dtype)
    counts = sequences.sum(kept.to(values.dtype))
    a_sequence = sequences.sum(values)
    if agg == "seq_mean_token_mean":
        a_sequence = a_sequence / counts.clamp(min=1.0)
    return a_sequence.sum() / (counts > 0.0).sum().clamp(min=1).to(values.dtype)


def _old(
    logp: Tensor, old: Tensor | None, behaviour: Tensor | None, mask: Tensor, ratio: Ratio
) -> Tensor:
    given = old if old is not None else behaviour
    if ratio == "none" or given is None:
        return logp.detach()
    return given.detach().masked_fill(~mask, 0.0)


def _a_token(adv: Tensor, logp: Tensor, sequences: Sequences) -> Tensor:
    adv = adv.detach()
    a_sequence = adv.ndim == 1 and len(adv) == sequences.number
    if adv.shape == logp.shape:
        if a_sequence and not torch.equal(spread := sequences.spread(adv), adv):
            raise ConfigError(
                f"adv {list(adv.shape)} may be one a token or one a sequence, which differ: "
                f"{adv.tolist()[:8]} or {spread.tolist()[:8]}; number the sequences without gaps, "
                "in the order of their tokens"
            )
        return adv
    if a_sequence:
        return sequences.spread(adv)
    raise ConfigError(
        f"adv must be {list(logp.shape)}, one a token, or [{sequences.number}], one a sequence; "
        f"got {list(adv.shape)}"
    )


def _check_shapes(logp: Tensor, mask: Tensor, *others: Tensor | None) -> None:
    if mask.shape != logp.shape or mask.dtype != torch.bool:
        raise ConfigError(
            f"mask must be bool {list(logp.shape)}, got {mask.dtype} {list(mask.shape)}"
        )
    for name, other in zip(("behaviour_logp", "old_logp"), others, strict=True):
        if other is not None and other.shape != logp.shape:
            raise ConfigError(f"{name} must be {list(logp.shape)}, got {list(other.shape)}")


def _as_clip(clip: Clip | tuple[float, ...] | Mapping[str, Any] | None) -> Clip | None:
    if clip is None or isinstance(clip, Clip):
        return clip
    if isinstance(clip, Mapping):
        return Clip(**clip)
    if isinstance(clip, tuple | list) and len(clip) in (2, 3):
        return Clip(*clip)
    raise ConfigError(f"clip must be a Clip, (low, high), (low, high, dual) or None, got {clip!r}")


def _as_correction(correction: Correction | Mapping[str, Any] | None) -> Correction | None:
    if correction is None or isinstance(correction, Correction):
        return correction
    if isinstance(correction, Mapping):
        return Correction(**correction)
    raise ConfigError(f"correction must be a Correction or None, got {correction!r}")
