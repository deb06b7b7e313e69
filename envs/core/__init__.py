"""What every environment of this package shares: one batched model, two Gymnasium forms of it.

Each name is loaded when it is first used, so that tasks that are plain programs need no Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.core.arguments import check_choice, check_integer, check_number
    from envs.core.entry import Entry, Reference
    from envs.core.errors import InvalidActionError, ResetNeeded
    from envs.core.model import Model, Outcome, State
    from envs.core.scalar import ModelEnv
    from envs.core.vector import ModelVectorEnv

__all__ = [
    "Entry",
    "InvalidActionError",
    "Model",
    "ModelEnv",
    "ModelVectorEnv",
    "Outcome",
    "Reference",
    "ResetNeeded",
    "State",
    "check_choice",
    "check_integer",
    "check_number",
]

_MODULES = {
    "Entry": "entry",
    "InvalidActionError": "errors",
    "Model": "model",
    "ModelEnv": "scalar",
    "ModelVectorEnv": "vector",
    "Outcome": "model",
    "Reference": "entry",
    "ResetNeeded": "errors",
    "State": "model",
    "check_choice": "arguments",
    "check_integer": "arguments",
    "check_number": "arguments",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
