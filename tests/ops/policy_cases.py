"""Random tokens of two policies, for the tests of the policy loss."""

from __future__ import annotations

import torch
from torch import Tensor

B, S = 5, 7


def case(seed: int = 0, apart: float = 0.3) -> dict[str, Tensor]:
    """Log-probabilities under pi, old and mu, advantages and a ragged mask with an empty row."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(B, S, generator=generator) < 0.7
    mask[2] = False
    logp = -draw(B, S).abs()
    return {
        "logp": logp.requires_grad_(),
        "old": (logp + apart * draw(B, S)).detach(),
        "mu": (logp + apart * draw(B, S)).detach(),
        "adv": draw(B),
        "mask": mask,
    }


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at)[0]
