"""Torsos: shapes, the papers' layers, uint8 scaling, errors."""

from __future__ import annotations

import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.nn.config import NetworkConfig
from rlcore.nn.torsos import MLP, build_torso

IMAGE = (4, 84, 84)


def parameters(torso: torch.nn.Module) -> int:
    return sum(p.numel() for p in torso.parameters())


def test_atari_torso_has_the_papers_layers() -> None:
    torso = build_torso(NetworkConfig(type="atari"), IMAGE)
    conv = (4 * 64 + 1) * 16 + (16 * 16 + 1) * 32
    assert parameters(torso) == conv + (32 * 9 * 9 + 1) * 256
    assert torso(torch.zeros(3, *IMAGE, dtype=torch.uint8)).shape == (3, 256)


def test_impala_torso_has_the_papers_layers() -> None:
    torso = build_torso(NetworkConfig(type="impala"), IMAGE)

    def section(a: int, b: int) -> int:
        return (9 * a + 1) * b + 4 * (9 * b + 1) * b

    convs = section(4, 16) + section(16, 32) + section(32, 32)
    assert parameters(torso) == convs + (32 * 11 * 11 + 1) * 256
    assert torso(torch.zeros(2, *IMAGE, dtype=torch.uint8)).shape == (2, 256)


@pytest.mark.parametrize("type_", ["mlp", "atari", "impala"])
def test_uint8_is_divided_by_255(type_: str) -> None:
    torch.manual_seed(0)
    torso = build_torso(NetworkConfig(type=type_, activation="relu"), IMAGE).double()
    obs = torch.randint(256, (2, *IMAGE), dtype=torch.uint8)
    torch.testing.assert_close(torso(obs), torso(obs.double() / 255), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mlp_by_hand(activation: str) -> None:
    mlp = MLP(3, (5, 4), activation, "orthogonal").double()
    x = torch.randn(7, 3, dtype=torch.float64)
    f = getattr(torch, activation)
    a, b = mlp.layers
    torch.testing.assert_close(mlp(x), f(b(f(a(x)))), rtol=0, atol=1e-14)
    assert torch.equal(a.bias, torch.zeros_like(a.bias))
    gram = a.weight.T @ a.weight
    torch.testing.assert_close(gram, 2 * torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)


def test_mlp_without_layers_passes_the_flattened_input() -> None:
    mlp = build_torso(NetworkConfig(hidden=()), (2, 3))
    assert mlp.features == 6
    assert torch.equal(mlp(torch.ones(4, 2, 3)), torch.ones(4, 6))


def test_integer_observations_are_cast() -> None:
    mlp = build_torso(NetworkConfig(), (3,))
    assert mlp(torch.ones(4, 3, dtype=torch.int64)).dtype == torch.float32


@pytest.mark.parametrize("type_", ["atari", "impala"])
@pytest.mark.parametrize(("shape", "words"), [((4,), "(4,)"), ((84, 84, 3), "channels first")])
def test_convolutions_want_images(type_: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_torso(NetworkConfig(type=type_), shape)
    assert words in str(caught.value)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="20x20"):
        build_torso(NetworkConfig(type="atari"), (1, 10, 10))
    assert build_torso(NetworkConfig(type="atari"), (1, 20, 20))(torch.ones(1, 1, 20, 20)).ndim == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "cnn"}, "'cnn'"),
        ({"activation": "gelu"}, "'gelu'"),
        ({"hidden": (64, 0)}, "[64, 0]"),
        ({"lstm": 0}, "got 0"),
        ({"std": "exp"}, "'exp'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkConfig(**settings)
    assert words in str(caught.value)


def test_default_sizes() -> None:
    assert NetworkConfig().sizes == (64, 64)
    assert NetworkConfig(type="atari").sizes == (256,)
    assert NetworkConfig(hidden=[8]).sizes == (8,)
    assert NetworkConfig(lstm=7).core_sizes == (7, 7)
    assert NetworkConfig(lstm=7, shared_trunk=False).core_sizes == (7,) * 4


@pytest.mark.parametrize("type_", ["atari", "impala"])
def test_acting_and_training_layouts_give_the_same_features(type_: str) -> None:
    torch.manual_seed(0)
    torso = build_torso(NetworkConfig(type=type_), IMAGE).double()
    obs = torch.randint(256, (2, *IMAGE), dtype=torch.uint8)
    with torch.no_grad():
        acting = torso(obs)
    torch.testing.assert_close(torso(obs), acting, rtol=1e-10, atol=1e-10)
