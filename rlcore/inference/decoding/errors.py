"""What decoding refuses, by name."""

from __future__ import annotations

from rlcore.errors import ConfigError, RlcoreError


class PromptError(RlcoreError, ValueError):
    """Prompts, given tokens or lengths do not fit the model or the pipeline."""


class ScheduleMismatch(ConfigError):
    """A schedule does not commit exactly the masked positions of its blocks."""


class InexactRollout(ConfigError):
    """A rollout would record log-probabilities that a replay cannot reproduce."""


class TrajectoryNotMonotone(RlcoreError):
    """A compact record was asked of a sampler that edits committed tokens."""
