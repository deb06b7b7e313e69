"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in halves."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlcore.nn.transformer.config import RopeScaling, TransformerConfig
from rlcore.ops.backends import HALF_AND_SINGLE, override
from rlcore.ops.rotary import rotary_angles


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


def cosines(positions: Tensor, frequencies: Tensor, double: bool) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines ``[..., D/2]`` of positions, float64 or float32."""
    wide = torch.float64 if double else torch.float32
    angles = positions.to(wide).unsqueeze(-1) * frequencies.to(wide)
    return angles.cos(), angles.sin()


@torch.library.custom_op("rlcore::cosines", mutates_args=())
def _opaque_cosines(positions: Tensor, frequencies: Tensor, double: bool) -> tuple[Tensor, Tensor]:
    """Be a closed box to the compiler, which would compute them anew in each layer and head."""
    return cosines(positions, frequencies, double)


@_opaque_cosines.register_fake
def _(positions: Tensor, frequencies: Tensor, double: bool) -> tuple[Tensor, Tensor]:
    shape = (*positions.shape, *frequencies.shape)
    like = positions.new_empty(shape, dtype=torch.float64 if double else torch.float32)
    return like, torch.empty_like(like)


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
        kernel = positions.device.type == "cuda" and override() is None
        if kernel and positions.dim() == 1 and dtype in HALF_AND_SINGLE:
            return rotary_angles(positions, self.frequencies)
        double = dtype == torch.float64
        wide = double and not self.config.float32_statistics
        compute = _opaque_cosines if torch.compiler.is_compiling() else cosines
        cos, sin = compute(positions, self.frequencies, wide)
        return (cos.double(), sin.double()) if double else (cos, sin)
