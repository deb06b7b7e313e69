"""Errors that an environment raises at its caller's mistake."""

from __future__ import annotations

from gymnasium.error import ResetNeeded

__all__ = ["InvalidActionError", "ResetNeeded"]


class InvalidActionError(ValueError):
    """The action is not one: wrong shape, not a number, or outside a discrete range."""
