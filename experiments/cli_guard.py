"""Makes sure that the packages found are this project's: ``agents`` is a common import name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rlcore.errors import ConfigError

MARK = "__rlcore__ = True"


def check_agents_package() -> None:
    """Look where ``import agents`` would lead, without importing it.

    Raises:
        ConfigError: Another distribution comes first on the path, or there is none.
    """
    spec = importlib.util.find_spec("agents")
    origin = None if spec is None else spec.origin
    if origin is None:
        raise ConfigError(
            "the package 'agents' of rlcore was not found; install rlcore again: "
            "pip install --force-reinstall rlcore"
        )
    if MARK not in Path(origin).read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"the package 'agents' found in {Path(origin).parent} is not rlcore's: another "
            "distribution (often openai-agents) is imported by the same name and comes first; "
            "install rlcore in an environment of its own"
        )
