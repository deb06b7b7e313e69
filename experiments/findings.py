"""The outcome of a check, as ``rlcore env check`` prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: Short name of the check.
        level: ``ok``, ``warning`` (training works, something is lost) or ``error``.
        message: What was found, and what to do about it.
    """

    check: str
    level: str
    message: str
