"""Dense MLPs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def silu_mul(gate_up: Tensor) -> Tensor:
    """Return ``silu(gate) * up`` of the two halves of the last axis."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))`` (Shazeer 2020, arXiv 2002.05202).

    ``gate_up.weight`` is ``[2 * hidden, D]``: the gate's rows, then the others.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., D]``."""
        return self.down(silu_mul(self.gate_up(x)))  # type: ignore[no-any-return]
