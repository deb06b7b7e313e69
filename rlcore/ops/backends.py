"""Which implementation of an operation runs: an explicit choice, never a silent fallback.

``"auto"`` follows one rule that depends on the tensors alone, not on what is installed:

====================  ==========
tensors               backend
====================  ==========
CPU, any dtype        ``torch``
CUDA, float32         ``triton``
CUDA, other dtypes    ``torch``
any other device      ``torch``
====================  ==========

``"reference"`` (readable, any dtype and device) and ``"numba"`` (CPU, optional package) run only
when they are asked for.
"""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError, MissingDependencyError

Backend = Literal["auto", "reference", "torch", "numba", "triton"]

_DEVICE = {"numba": "cpu", "triton": "cuda"}
_DTYPES = {"numba": (torch.float32, torch.float64), "triton": (torch.float32,)}
_INSTALL = {"numba": "pip install 'rlcore[fast]'", "triton": "pip install triton"}


def resolve_backend(backend: str, like: Tensor) -> str:
    """Return the backend to run for tensors such as ``like``.

    Raises:
        ConfigError: The name is unknown, or the backend cannot run on this device or dtype.
        MissingDependencyError: The backend's package is not installed.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
    if backend == "auto":
        fused = like.device.type == "cuda" and like.dtype == torch.float32
        backend = "triton" if fused else "torch"
    if backend in _DEVICE:
        if like.device.type != _DEVICE[backend]:
            raise ConfigError(
                f"backend {backend!r} wants tensors on {_DEVICE[backend]}, got {like.device.type}"
            )
        if importlib.util.find_spec(backend) is None:
            raise MissingDependencyError(
                f"backend {backend!r} needs the package {backend}, which is not installed: "
                f"{_INSTALL[backend]}, or use backend='torch'"
            )
    if like.dtype not in _DTYPES.get(backend, (like.dtype,)):
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES[backend])
        raise ConfigError(f"backend {backend!r} wants {wanted} tensors, got {like.dtype}")
    return backend
