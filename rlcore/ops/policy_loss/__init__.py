"""Policy-gradient losses: advantages of groups, ratios, clipping, corrections, KL, presets.

The pieces that control agents share (:mod:`~rlcore.ops.policy_loss.masked`,
:mod:`~rlcore.ops.policy_loss.metrics`) and the family of losses on sampled sequences of tokens:
:func:`group_advantages`, then :func:`policy_loss`, with :data:`PRESETS` for the published members.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlcore.ops.policy_loss.correction import Correction
    from rlcore.ops.policy_loss.groups import group_advantages
    from rlcore.ops.policy_loss.kl import kl_penalty
    from rlcore.ops.policy_loss.loss import Clip, policy_loss
    from rlcore.ops.policy_loss.presets import PRESETS

__all__ = ["PRESETS", "Clip", "Correction", "group_advantages", "kl_penalty", "policy_loss"]

_HOME = {
    "Clip": "loss",
    "Correction": "correction",
    "PRESETS": "presets",
    "group_advantages": "groups",
    "kl_penalty": "kl",
    "policy_loss": "loss",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
