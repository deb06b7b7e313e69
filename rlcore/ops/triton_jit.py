"""Compile Triton kernels that are written as plain functions, so that no import needs Triton."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any


@cache
def jitted(kernel: Callable[..., Any], *parts: Callable[..., Any]) -> Any:
    """Return the compiled form of ``kernel``; it is compiled when it is first launched.

    Args:
        kernel: A function that finds ``triton.language`` under the global name ``tl``, which is
            bound here.
        parts: Device functions that it calls. Their names are bound to the compiled forms in the
            kernel's module, which is where Triton looks them up.
    """
    triton = importlib.import_module("triton")
    kernel.__globals__["tl"] = importlib.import_module("triton.language")
    for part in parts:
        if isinstance(part, FunctionType):
            part = jitted(part)
        kernel.__globals__[part.__name__] = part
    return triton.jit(kernel)
