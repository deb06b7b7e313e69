"""The way in: experiment files, validation, runs, the run store and the command line.

``experiments.run(config, overrides)`` does what ``rlcore run`` does and returns a ``Run``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.runner import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """Import ``run`` on first use, so that reading a config never imports the runtime."""
    if name == "run":
        from experiments.runner import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
