"""Environments and presets, behind Gymnasium's interface.

Importing this package registers every environment of :mod:`envs.catalogue` with Gymnasium;
``gymnasium.make("envs:dynamics/lorenz-v0")`` does so by itself.
"""

from __future__ import annotations

from envs.catalogue import entries, register_all
from envs.core.entry import Cost

__all__ = ["entries", "list", "register_all"]


def list(cost: Cost | None = None) -> tuple[str, ...]:
    """Return the ids of this package, of one cost class or all."""
    return tuple(entry.id for entry in entries(cost=cost))


register_all()
