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

The operations of language models have kernels for float16 and bfloat16 too: they name the dtypes
that their kernels take (``triton_dtypes``), and the rule is the same.

``"reference"`` (readable, any dtype and device) and ``"numba"`` (CPU, optional package) run only
when they are asked for. ``"triton"`` runs on a CPU too where the environment asks for Triton's
interpreter (``TRITON_INTERPRET=1``): slowly, to check a kernel line by line.

To find out whether a kernel is to blame, set ``RLCORE_KERNELS=torch`` or ``=reference`` before the
program starts: it is then what ``auto`` stands for. A backend that is asked for by name stays.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

import torch
from torch import Tensor

from rlcore.errors import ConfigError, MissingDependencyError

Backend = Literal["auto", "reference", "torch", "numba", "triton"]

_NAMES = get_args(Backend)
HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes of kernels that load any of them and compute in float32."""

_DEVICE = {"numba": "cpu", "triton": "cuda"}
OVERRIDE = "RLCORE_KERNELS"
# Read once: a compiled model resolves backends while it is traced.
_override = os.environ.get(OVERRIDE)
_NUMBA_DTYPES = (torch.float32, torch.float64)
_INSTALL = {"numba": "pip install 'rlcore[fast]'", "triton": "pip install triton"}


def _can_be_found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # of a finder that refuses it
        return False


# Looked up once: a compiled model resolves backends while it is traced, which cannot search.
_INSTALLED = {name: _can_be_found(name) for name in _DEVICE}


def is_installed(package: str) -> bool:
    """Return whether ``numba`` or ``triton`` can be imported."""
    return _INSTALLED[package]


def override() -> Backend | None:
    """Return what ``auto`` stands for by the environment, or ``None`` where the rule decides.

    Raises:
        ConfigError: The environment names no backend that runs everywhere.
    """
    if not _override:
        return None
    if _override not in ("reference", "torch"):
        raise ConfigError(f"{OVERRIDE} must be reference or torch, got {_override!r}")
    return "torch" if _override == "torch" else "reference"


def resolve_backend(
    backend: Backend, like: Tensor, *, triton_dtypes: tuple[torch.dtype, ...] = (torch.float32,)
) -> Backend:
    """Return the backend to run for tensors such as ``like``.

    Args:
        backend: What was asked for.
        like: A tensor of the operation's device and dtype.
        triton_dtypes: The dtypes that the operation's Triton kernels take.

    Raises:
        ConfigError: The name is unknown, or the backend cannot run on this device or dtype.
        MissingDependencyError: The backend's package is not installed.
    """
    if backend not in _NAMES:
        raise ConfigError(f"backend must be one of {_NAMES}, got {backend!r}")
    if backend == "auto":
        fused = like.device.type == "cuda" and like.dtype in triton_dtypes
        backend = override() or ("triton" if fused else "torch")
    if backend in _DEVICE:
        interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
        if like.device.type != _DEVICE[backend] and not interpreted:
            raise ConfigError(
                f"backend {backend!r} wants tensors on {_DEVICE[backend]}, got {like.device.type}"
            )
        if not is_installed(backend):
            raise MissingDependencyError(
                f"backend {backend!r} needs the package {backend}, which is not installed: "
                f"{_INSTALL[backend]}, or use backend='torch'"
            )
    if backend not in _DEVICE:
        return backend
    allowed = _NUMBA_DTYPES if backend == "numba" else triton_dtypes
    if like.dtype not in allowed:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ConfigError(f"backend {backend!r} wants {wanted} tensors, got {like.dtype}")
    return backend
