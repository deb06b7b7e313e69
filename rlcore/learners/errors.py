"""What a learner refuses, each by its own name."""

from __future__ import annotations

from rlcore.errors import LearnerError


class EmptyBatchError(LearnerError):
    """The batch holds no trainable unit (weight 0 or no rows)."""


class NoGradientError(LearnerError):
    """The loss does not depend on any trainable parameter."""


class ParameterError(LearnerError):
    """A trainable parameter is not a real floating-point tensor, or its shape changed."""
