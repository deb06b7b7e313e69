"""What may change when a run goes on: limits and reports freely, the mathematics on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.planning import FREE_SECTIONS
from experiments.validate import ResolvedConfig
from rlcore.errors import ConfigError


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a tree of settings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict) and value:
            leaves |= flatten(value, path)
        else:
            leaves[path] = value
    return leaves


def check_changes(
    before: ResolvedConfig, after: ResolvedConfig, allow_change: Sequence[str] = ()
) -> None:
    """Refuse changed settings that alter what the run computes.

    Raises:
        ConfigError: Lists each setting with its old and new value, and how to allow it.
    """
    old, new = flatten(before.tree), flatten(after.tree)
    refused = []
    for key in sorted(set(old) | set(new)):
        if old.get(key) == new.get(key) or key.split(".")[0] in FREE_SECTIONS:
            continue
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in allow_change):
            refused.append(f"  {key}: {old.get(key)!r} -> {new.get(key)!r}")
    if refused:
        raise ConfigError(
            "a resumed run keeps the settings that change what it computes; these differ:\n"
            + "\n".join(refused)
            + "\nto change them all the same: --allow-change KEY for each"
        )
