"""What a learner refuses, each by its own name."""

from __future__ import annotations

from rlcore.errors import LearnerError


class EmptyBatchError(LearnerError):
    """The batch holds no trainable unit (weight 0 or no rows)."""


class NoGradientError(LearnerError):
    """The loss does not depend on any trainable parameter."""


class LossOutputError(LearnerError):
    """A loss function returned something else than a scalar mean loss and its weight."""


class ImpureLossError(LearnerError):
    """Two calls of a loss with equal parameters, buffers, batch and random state differ."""


class ParameterError(LearnerError):
    """A parameter is not a real floating-point tensor, or was replaced or reshaped."""


class LearnerStateError(LearnerError):
    """A saved state does not fit this learner."""
