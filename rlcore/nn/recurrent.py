"""The LSTM core, unrolled over fragments with resets where episodes start.

Shapes: ``T`` time, ``B`` batch, ``D`` input width, ``H`` cells.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlcore.ops.activations import tanh

LSTMState = tuple[Tensor, Tensor]
"""``(h, c)``."""


class LSTMCore(nn.Module):
    """One LSTM layer (gates in torch's order i, f, g, o; the forget gate's bias starts at 1).

    Args:
        inputs: Width ``D`` of the input.
        cells: Width ``H`` of the state and of the output.
    """

    def __init__(self, inputs: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        bound = 1.0 / math.sqrt(cells)
        self.weight_ih = nn.Parameter(torch.empty(4 * cells, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * cells, cells).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * cells))
        with torch.no_grad():
            self.bias[cells : 2 * cells] = 1.0

    def step(self, x: Tensor, state: LSTMState) -> LSTMState:
        """Advance ``[B, D]`` inputs by one step and return the new state, each ``[B, H]``."""
        return self._cell(F.linear(x, self.weight_ih, self.bias), state)

    def forward(self, x: Tensor, first: Tensor, state: LSTMState) -> LSTMState:
        """Unroll over a fragment.

        Args:
            x: ``[T, B, D]``.
            first: ``[T, B]`` bool; the state is zeroed before row ``t`` where ``first[t]``.
            state: ``(h, c)`` before row 0, each ``[B, H]``.

        Returns:
            ``(h, c)`` after each row, each ``[T, B, H]``; ``h`` is the output.
        """
        projected = F.linear(x, self.weight_ih, self.bias).unbind(0)
        keep = (~first).unsqueeze(-1).to(x.dtype).unbind(0)
        h, c = state
        hs, cs = [], []
        for gates, kept in zip(projected, keep, strict=True):
            h, c = self._cell(gates, (h * kept, c * kept))
            hs.append(h)
            cs.append(c)
        return torch.stack(hs), torch.stack(cs)

    def _cell(self, projected: Tensor, state: LSTMState) -> LSTMState:
        h, c = state
        gates = torch.addmm(projected, h, self.weight_hh.t())
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * tanh(g)
        return o.sigmoid() * tanh(c), c
