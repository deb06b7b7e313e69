"""Single: one process holds all parameters and sees all data."""

from __future__ import annotations

import torch
from torch import Tensor

from rlcore.learners.base import GradEstimate


class Single:
    """Nothing to exchange."""

    world_size = 1

    def reduce(self, estimate: GradEstimate) -> GradEstimate:
        """Return the estimate as it is."""
        return estimate

    def global_norm(self, flat_grad: Tensor) -> Tensor:
        """Return the L2 norm of the whole gradient."""
        norm: Tensor = torch.linalg.vector_norm(flat_grad)
        return norm
