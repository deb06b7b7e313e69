"""ONE transformer: token mixer, MLP and norm are parts; Hugging Face folders are read and written.

``TransformerConfig`` loads without torch; the rest is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rlcore.nn.transformer.config import (
    DenseConfig,
    MixerConfig,
    MoeConfig,
    RopeScaling,
    TransformerConfig,
)

if TYPE_CHECKING:
    from rlcore.nn.transformer.memory import KVWrite, Memory
    from rlcore.nn.transformer.model import Transformer
    from rlcore.nn.transformer.moe import Routing
    from rlcore.nn.transformer.pretrained import from_pretrained, save_pretrained
    from rlcore.ops.attention.masks import AttentionMask

__all__ = [
    "AttentionMask",
    "DenseConfig",
    "KVWrite",
    "Memory",
    "MixerConfig",
    "MoeConfig",
    "RopeScaling",
    "Routing",
    "Transformer",
    "TransformerConfig",
    "from_pretrained",
    "save_pretrained",
]

_HOME = {
    "AttentionMask": "rlcore.ops.attention.masks",
    "KVWrite": "rlcore.nn.transformer.memory",
    "Memory": "rlcore.nn.transformer.memory",
    "Routing": "rlcore.nn.transformer.moe",
    "Transformer": "rlcore.nn.transformer.model",
    "from_pretrained": "rlcore.nn.transformer.pretrained",
    "save_pretrained": "rlcore.nn.transformer.pretrained",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
