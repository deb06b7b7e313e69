"""Dense MLPs."""

from __future__ import annotations

from torch import Tensor, nn

from rlcore.ops.swiglu import silu_mul


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
