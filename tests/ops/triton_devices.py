"""Where Triton kernels are tested: on a GPU, or on a CPU by Triton's interpreter.

``TRITON_INTERPRET=1 pytest tests/ops`` runs the kernels line by line where the package is
installed; ``pytest -m gpu tests/ops`` runs the same tests compiled.
"""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

DEVICES = [
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(
            not INTERPRETED or importlib.util.find_spec("triton") is None,
            reason="needs the package triton and TRITON_INTERPRET=1",
        ),
    ),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
"""Largest relative error in the Euclidean norm against float64."""


def dtypes_of(device: str) -> list[torch.dtype]:
    """The interpreter's matrix products know float32 alone."""
    return list(LIMITS) if device == "cuda" else [torch.float32]


def relative_l2(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative error in the Euclidean norm, in float64."""
    difference = ours.double().cpu() - wanted.double().cpu()
    return float(difference.norm() / wanted.double().norm())
