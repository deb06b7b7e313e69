"""Masked-diffusion decoding: one pipeline, of which every sampler is a composition.

A pass plans a window, denoises it, draws tokens, ranks positions, accepts some and commits them;
see :mod:`rlcore.inference.decoding.reverse_step`. :func:`build_decoder` makes pipelines from
settings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlcore.inference.decoding.denoiser import Denoiser, TransformerDenoiser
    from rlcore.inference.decoding.errors import (
        InexactRollout,
        PromptError,
        ScheduleMismatch,
        TrajectoryNotMonotone,
    )
    from rlcore.inference.decoding.pipeline import DecodingPipeline
    from rlcore.inference.decoding.prompts import PromptBatch
    from rlcore.inference.decoding.registry import build_decoder
    from rlcore.inference.decoding.result import DecodeResult
    from rlcore.inference.decoding.trajectory import (
        Recorder,
        TrajectoryBatch,
        replay,
        replay_log_probs,
    )

_HOME = {
    "DecodeResult": "result",
    "DecodingPipeline": "pipeline",
    "Denoiser": "denoiser",
    "InexactRollout": "errors",
    "PromptBatch": "prompts",
    "PromptError": "errors",
    "Recorder": "trajectory",
    "ScheduleMismatch": "errors",
    "TrajectoryBatch": "trajectory",
    "TrajectoryNotMonotone": "errors",
    "TransformerDenoiser": "denoiser",
    "build_decoder": "registry",
    "replay": "trajectory",
    "replay_log_probs": "trajectory",
}

__all__ = [
    "DecodeResult",
    "DecodingPipeline",
    "Denoiser",
    "InexactRollout",
    "PromptBatch",
    "PromptError",
    "Recorder",
    "ScheduleMismatch",
    "TrajectoryBatch",
    "TrajectoryNotMonotone",
    "TransformerDenoiser",
    "build_decoder",
    "replay",
    "replay_log_probs",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
