"""Kernels that start before the one before them has ended: programmatic dependent launch.

A chain of short kernels is bound by the time between them. A kernel that starts early sets itself
up, loads what nobody writes (weights), and waits only then for what the kernels before it wrote.

Every kernel that is launched with ``launch_pdl`` calls :func:`wait_for_inputs` before it reads or
writes anything else than weights; so whatever it waits for has itself waited, and order is kept
along the whole chain. A kernel may also read its inputs at once where the one before it waits
before it calls :func:`release_next`; it then waits before it ends (decoding behind shared pieces).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

tl: Any = None  # triton.language, bound when a kernel is built: kernels look names up here


@cache
def can_start_early(device: torch.device) -> bool:
    """Return whether kernels on ``device`` can: CUDA devices of capability 9.0 and later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def launch_options(device: torch.device, early: bool | None = None) -> dict[str, bool]:
    """Return the keyword arguments of a launch: ``EARLY`` and, where it is set, ``launch_pdl``.

    Args:
        device: Where the kernel runs.
        early: Whether it starts early; by default where that is possible.
    """
    early = can_start_early(device) if early is None else early
    return {"EARLY": True, "launch_pdl": True} if early else {"EARLY": False}


def wait_for_inputs(EARLY: tl.constexpr):  # type: ignore[no-untyped-def]
    """Wait until what the kernels before this one wrote can be read (Triton)."""
    if EARLY:
        tl.extra.cuda.gdc_wait()


def release_next(EARLY: tl.constexpr):  # type: ignore[no-untyped-def]
    """Let the next kernel start; it waits for this one to end before it reads (Triton)."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
