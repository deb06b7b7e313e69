"""Initial weights."""

from __future__ import annotations

import math

from torch import nn

RELU_GAIN = math.sqrt(2.0)


def initialize(layer: nn.Linear | nn.Conv2d, how: str, gain: float = RELU_GAIN) -> None:
    """Set weights: ``"orthogonal"`` with ``gain`` and zero bias, or torch's ``"default"``.

    Random numbers come from torch's global generator.
    """
    if how == "default":
        return
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
