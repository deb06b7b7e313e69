"""What may change when a run goes on, and the record of what it was before.

Limits and reports change freely, the mathematics on request.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from experiments.planning import FREE_SECTIONS, math_hash
from experiments.run_folder import RunFolder
from experiments.runs import flatten
from experiments.validate import ResolvedConfig, load_config
from rlcore.errors import ConfigError

EARLIER_CONFIGS = "config.resolved.*.yaml"
_log = logging.getLogger(__name__)


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


def keep_settings(folder: RunFolder, settings: ResolvedConfig) -> None:
    """Keep settings that are about to change as ``config.resolved.N.yaml``, N from 1."""
    number = 1 + sum(1 for _ in folder.path.glob(EARLIER_CONFIGS))
    folder.write_text(EARLIER_CONFIGS.replace("*", str(number)), settings.text)


def earlier_hashes(path: Path) -> list[str]:
    """Return the hashes of the settings that a run had before it was resumed with others.

    Its older checkpoints carry them. Files that cannot be read any more count for nothing.
    """
    hashes = []
    for file in sorted(path.glob(EARLIER_CONFIGS)):
        try:
            hashes.append(math_hash(load_config(file, look_up=False).tree))
        except ConfigError as error:
            _log.warning("%s is passed over: %s", file, error)
    return hashes
