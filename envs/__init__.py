"""Environments and presets, behind Gymnasium's interface.

Importing this package registers every environment of :mod:`envs.catalogue` with Gymnasium;
``gymnasium.make("envs:dynamics/lorenz-v0")`` does so by itself. Where Gymnasium is not installed
there is nothing to register with: tasks that are plain programs (:mod:`envs.reasoning`) work alone.
"""

from __future__ import annotations

from importlib.util import find_spec

from envs.catalogue import entries, register_all
from envs.core.entry import Cost

__all__ = ["entries", "list", "register_all"]


def list(cost: Cost | None = None) -> tuple[str, ...]:
    """Return the ids of this package, of one cost class or all."""
    return tuple(entry.id for entry in entries(cost=cost))


if find_spec("gymnasium") is not None:
    register_all()
