"""Generation with language models: ``LLM`` for prompts in and answers out, ``Engine`` for branches.

Names are imported when they are asked for: settings load without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlcore.inference.config import EngineConfig, SamplingParams
    from rlcore.inference.engine import Engine
    from rlcore.inference.generated import Generated
    from rlcore.inference.llm import LLM
    from rlcore.inference.request import Request

__all__ = ["LLM", "Engine", "EngineConfig", "Generated", "Request", "SamplingParams"]

_HOME = {
    "LLM": "llm",
    "Engine": "engine",
    "EngineConfig": "config",
    "Generated": "generated",
    "Request": "request",
    "SamplingParams": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
