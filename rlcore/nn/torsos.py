"""Torsos: from observations ``[N, *obs_shape]`` in their stored dtype to features ``[N, D]``.

uint8 observations are divided by 255 inside; everything else is taken as it is, as float32.
Images are stored channels first, ``[C, H, W]``.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.errors import ConfigError
from rlcore.nn.config import NetworkConfig
from rlcore.nn.init import initialize
from rlcore.ops.activations import dense_tanh

_UINT8_SCALE = 1.0 / 255.0


class MLP(nn.Module):
    """Dense layers with an activation after each.

    Args:
        inputs: Width of the (flattened) input.
        sizes: Widths of the layers; none at all gives the flattened input itself.
        activation: ``"tanh"`` or ``"relu"``.
        init: See :func:`rlcore.nn.init.initialize`.
    """

    def __init__(self, inputs: int, sizes: tuple[int, ...], activation: str, init: str) -> None:
        super().__init__()
        self.tanh = activation == "tanh"
        self.features = sizes[-1] if sizes else inputs
        widths = (inputs, *sizes)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            initialize(layer, init)

    def forward(self, obs: Tensor) -> Tensor:
        """Return features ``[N, D]``."""
        x = _as_input(obs.flatten(1), self)
        if obs.dtype == torch.uint8:
            x = x * _UINT8_SCALE
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            x = dense_tanh(x, layer.weight, layer.bias) if self.tanh else torch.relu_(layer(x))
        return x


class AtariTorso(nn.Module):
    """The network of A3C (Mnih et al. 2016, section 8): two convolutions and dense layers, ReLU.

    Args:
        obs_shape: ``[C, H, W]``.
        sizes: Widths of the dense layers; the paper has one of 256.
        init: See :func:`rlcore.nn.init.initialize`.
    """

    def __init__(self, obs_shape: tuple[int, ...], sizes: tuple[int, ...], init: str) -> None:
        super().__init__()
        channels, *image = _image_shape(obs_shape, "atari")
        self.conv1 = nn.Conv2d(channels, 16, 8, stride=4)
        self.conv2 = nn.Conv2d(16, 32, 4, stride=2)
        for conv in (self.conv1, self.conv2):
            initialize(conv, init)
        height, width = (_conv_size(_conv_size(size, 8, 4), 4, 2) for size in image)
        if height < 1 or width < 1:
            raise ConfigError(f"network 'atari' wants images of 20x20 or more, got {obs_shape}")
        self.dense = MLP(32 * height * width, sizes, "relu", init)
        self.features = self.dense.features

    def forward(self, obs: Tensor) -> Tensor:
        """Return features ``[N, D]``."""
        x = torch.relu_(_first_conv(self.conv1, obs, channels_last=torch.is_grad_enabled()))
        x = torch.relu_(self.conv2(x))
        out: Tensor = self.dense(x)
        return out


class _Residual(nn.Module):
    def __init__(self, channels: int, init: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            initialize(conv, init)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(torch.relu_(self.conv1(torch.relu(x))))
        return out.add_(x)


class _Section(nn.Module):
    """Convolution, max-pooling by two, two residual blocks."""

    def __init__(self, inputs: int, channels: int, init: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1)
        initialize(self.conv, init)
        self.block1 = _Residual(channels, init)
        self.block2 = _Residual(channels, init)

    def forward(self, obs: Tensor) -> Tensor:
        x = _first_conv(self.conv, obs, channels_last=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        out: Tensor = self.block2(self.block1(x))
        return out


class ImpalaTorso(nn.Module):
    """The deep residual network of IMPALA (Espeholt et al. 2018, figure 3, right).

    Args:
        obs_shape: ``[C, H, W]``.
        sizes: Widths of the dense layers; the paper has one of 256.
        init: See :func:`rlcore.nn.init.initialize`.
    """

    CHANNELS = (16, 32, 32)

    def __init__(self, obs_shape: tuple[int, ...], sizes: tuple[int, ...], init: str) -> None:
        super().__init__()
        channels, *image = _image_shape(obs_shape, "impala")
        inputs = (channels, *self.CHANNELS[:-1])
        self.sections = nn.Sequential(
            *(_Section(a, b, init) for a, b in zip(inputs, self.CHANNELS, strict=True))
        )
        for _ in self.CHANNELS:
            image = [(size + 1) // 2 for size in image]
        self.dense = MLP(self.CHANNELS[-1] * math.prod(image), sizes, "relu", init)
        self.features = self.dense.features

    def forward(self, obs: Tensor) -> Tensor:
        """Return features ``[N, D]``."""
        out: Tensor = self.dense(torch.relu(self.sections(obs)))
        return out


def build_torso(
    config: NetworkConfig, obs_shape: tuple[int, ...]
) -> MLP | AtariTorso | ImpalaTorso:
    """Return the torso of ``config`` for observations of ``obs_shape``.

    Raises:
        ConfigError: A convolutional torso is asked for but observations are no images.
    """
    if config.type == "mlp":
        return MLP(math.prod(obs_shape), config.sizes, config.activation, config.init)
    if config.type == "atari":
        return AtariTorso(obs_shape, config.sizes, config.init)
    return ImpalaTorso(obs_shape, config.sizes, config.init)


def _as_input(obs: Tensor, module: nn.Module) -> Tensor:
    """Cast stored observations to the parameters' dtype."""
    weight = next(module.parameters(), obs)
    if weight.dtype.is_floating_point:
        return obs.to(weight.dtype)
    return obs.to(torch.float32)


def _first_conv(conv: nn.Conv2d, obs: Tensor, *, channels_last: bool) -> Tensor:
    """Apply ``conv`` to stored images; uint8 is scaled through the weights, not pixel by pixel.

    Channels last in memory (on the CPU) is a matter of speed alone. It halves the cost of the
    backward pass; forwards, 3x3 convolutions gain and 8x8 convolutions with stride 4 lose.
    """
    if channels_last and obs.device.type == "cpu":
        pixels = obs.to(conv.weight.dtype, memory_format=torch.channels_last)
    else:
        pixels = obs.to(conv.weight.dtype)
    weight = conv.weight * _UINT8_SCALE if obs.dtype == torch.uint8 else conv.weight
    return F.conv2d(pixels, weight, conv.bias, conv.stride, conv.padding)


def _conv_size(size: int, kernel: int, stride: int) -> int:
    return (size - kernel) // stride + 1


def _image_shape(obs_shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(obs_shape) != 3:
        raise ConfigError(
            f"network {name!r} wants images [C, H, W], got observations of shape {obs_shape}; "
            "use network: {type: mlp}"
        )
    if obs_shape[-1] <= 4 < obs_shape[0]:
        raise ConfigError(
            f"network {name!r} wants images channels first, [C, H, W]; {obs_shape} looks like "
            "[H, W, C]"
        )
    return obs_shape
