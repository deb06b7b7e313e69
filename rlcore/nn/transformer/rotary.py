"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in halves."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlcore.nn.transformer.config import RopeScaling, TransformerConfig


def frequencies(config: TransformerConfig) -> Tensor:
    """Return the angle of each pair a position, float64 ``[head_dim / 2]`` on the CPU.

    ``theta ** (-2 i / head_dim)``, stretched by ``rope_scaling``. With ``float32_statistics`` every
    step is rounded to float32, as in the code that trained published checkpoints.
    """
    dtype = torch.float32 if config.float32_statistics else torch.float64
    steps = torch.arange(0, config.head_size, 2, dtype=torch.int64, device="cpu").to(dtype)
    angles = 1.0 / (config.rope_theta ** (steps / config.head_size))
    if config.rope_scaling is not None:
        angles = _stretched(angles, config.rope_scaling)
    return angles.double()


def _stretched(angles: Tensor, scaling: RopeScaling) -> Tensor:
    if scaling.type == "linear":
        return angles / scaling.factor
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    wavelength = 2 * math.pi / angles
    slow = wavelength > scaling.original_positions / low
    fast = wavelength < scaling.original_positions / high
    smooth = (scaling.original_positions / wavelength - low) / (high - low)
    divided = angles / scaling.factor
    ramp = (1 - smooth) * divided + smooth * angles
    return torch.where(slow, divided, torch.where(fast, angles, ramp))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x`` with each pair ``(x_i, x_{i + D/2})`` turned by its angle.

    Args:
        x: ``[..., S, H, D]``.
        cos: ``[..., S, D/2]``, of ``x``'s dtype or wider.
        sin: ``[..., S, D/2]``, likewise.
    """
    first, second = x.chunk(2, -1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


class Rotary(nn.Module):
    """Cosines and sines of positions.

    The frequencies are kept in float64: casting the model does not round them.
    """

    frequencies: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("frequencies", frequencies(config), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rotary:
        device = fn(self.frequencies).device
        self.frequencies = frequencies(self.config).to(device)
        return self

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return ``(cos, sin)``, each ``[..., D/2]``, for integer positions.

        They are float32 for tokens in half precision and of ``dtype`` otherwise.
        """
        double = dtype == torch.float64
        wide = torch.float64 if double and not self.config.float32_statistics else torch.float32
        angles = positions.to(wide).unsqueeze(-1) * self.frequencies.to(wide)
        cos, sin = angles.cos(), angles.sin()
        return (cos.double(), sin.double()) if double else (cos, sin)
