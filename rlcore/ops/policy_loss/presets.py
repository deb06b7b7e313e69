"""The published members of the family, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlcore.ops.policy_loss.correction import Correction
from rlcore.ops.policy_loss.groups import Baseline, Scale
from rlcore.ops.policy_loss.kl import Estimator
from rlcore.ops.policy_loss.loss import Aggregation, Clip, Ratio


@dataclass(frozen=True, slots=True)
class Preset:
    """One member of the family.

    Attributes:
        mean: Baseline of :func:`~rlcore.ops.policy_loss.groups.group_advantages`.
        std: Its scale.
        ratio: Ratio of :func:`~rlcore.ops.policy_loss.loss.policy_loss`.
        clip: Its range.
        agg: How tokens are averaged.
        correction: Weights for tokens of older weights; none in the papers themselves.
        kl_coef: Coefficient of the KL penalty against a reference; 0 for none.
        kl: Estimator of that penalty.
        drop_invalid: Whether answers that break the schema are left out before advantages.
        drop_constant: Whether groups of equal rewards are left out.
    """

    mean: Baseline
    std: Scale
    ratio: Ratio
    clip: Clip | None
    agg: Aggregation
    correction: Correction | None = None
    kl_coef: float = 0.0
    kl: Estimator = "k3"
    drop_invalid: bool = False
    drop_constant: bool = False

    def advantage_settings(self) -> dict[str, Any]:
        """Return the keyword arguments of ``group_advantages``."""
        return {"mean": self.mean, "std": self.std}

    def loss_settings(self) -> dict[str, Any]:
        """Return the keyword arguments of ``policy_loss``."""
        names = ("ratio", "clip", "agg", "correction")
        return {name: getattr(self, name) for name in names}

    def summary(self) -> str:
        """Return the choices in one line."""
        parts = [f"advantage {self.mean}/{self.std}", f"ratio {self.ratio}"]
        if self.clip is not None:
            dual = "" if self.clip.dual is None else f", dual {self.clip.dual:g}"
            parts.append(f"clip {self.clip.low:g}, {self.clip.high:g}{dual}")
        parts.append(self.agg)
        if self.correction is not None:
            parts.append(f"{self.correction.kind} up to {self.correction.cap:g}")
        if self.kl_coef:
            parts.append(f"KL {self.kl_coef:g} ({self.kl})")
        drops = {"invalid answers": self.drop_invalid, "constant groups": self.drop_constant}
        parts += [f"without {name}" for name, dropped in drops.items() if dropped]
        return "; ".join(parts)


PRESETS: dict[str, Preset] = {
    # Native Parallel Reasoner (2025): no ratio to an older policy, so that nothing clips the tags.
    "papo": Preset("group", "batch", "none", None, "token_mean", drop_invalid=True),
    # DeepSeekMath (Shao et al. 2024), eq. 3; KL coefficient of section 4.2.
    "grpo": Preset("group", "group", "token", Clip(0.2, 0.2), "seq_mean_token_mean", kl_coef=0.04),
    # DAPO (Yu et al. 2025), eq. 8: higher upper bound, all tokens alike, dynamic sampling.
    "dapo": Preset(
        "group", "group", "token", Clip(0.2, 0.28, 10.0), "token_mean", drop_constant=True
    ),
    # GSPO (Zheng et al. 2025), eq. 5 and section 5.1's range.
    "gspo": Preset("group", "group", "geometric", Clip(3e-4, 4e-4), "seq_mean_token_mean"),
    # Dr. GRPO (Liu et al. 2025): neither the deviation nor the length divides.
    "dr_grpo": Preset("group", "none", "token", Clip(0.2, 0.2), "seq_mean_token_sum"),
    # MiniMax-M1 (2025), eq. 4: the weight is cut, the gradient never; its bound is not printed.
    "cispo": Preset(
        "group", "group", "none", None, "token_mean", Correction("tis", cap=5.0, seq_band=None)
    ),
    # RLOO (Ahmadian et al. 2024): REINFORCE on whole answers, the other answers as baseline.
    "rloo": Preset("loo", "none", "none", None, "seq_mean_token_sum"),
    # REINFORCE++ (Hu 2025): PPO's clipping with rewards normalised over the batch.
    "reinforce_pp": Preset("batch", "batch", "token", Clip(0.2, 0.2), "token_mean"),
}
"""``papo``, ``grpo``, ``dapo``, ``gspo``, ``dr_grpo``, ``cispo``, ``rloo``, ``reinforce_pp``."""
