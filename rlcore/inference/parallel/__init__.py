"""Generations with branches: tags, the tree of spans they make, positions and masks.

Pure functions on token ids; no engine is needed. :mod:`~rlcore.inference.parallel.schema` says
which tags open and close what, :func:`parse` turns ids into a :class:`SpanTree`, and
:func:`build_positions` and :func:`build_intervals` give what a masked forward pass needs to equal
the generation branch by branch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlcore.inference.parallel.canonical import canonicalize
    from rlcore.inference.parallel.layout import build_intervals, build_positions, flex_mask_mod
    from rlcore.inference.parallel.parser import parse, validate
    from rlcore.inference.parallel.schema import MULTIVERSE, NPR, ParallelSchema, SchemaError
    from rlcore.inference.parallel.spans import Block, Span, SpanTree

_HOME = {
    "Block": "spans",
    "MULTIVERSE": "schema",
    "NPR": "schema",
    "ParallelSchema": "schema",
    "SchemaError": "schema",
    "Span": "spans",
    "SpanTree": "spans",
    "build_intervals": "layout",
    "build_positions": "layout",
    "canonicalize": "canonical",
    "flex_mask_mod": "layout",
    "parse": "parser",
    "validate": "parser",
}

__all__ = [  # noqa: RUF022
    "Block",
    "MULTIVERSE",
    "NPR",
    "ParallelSchema",
    "SchemaError",
    "Span",
    "SpanTree",
    "build_intervals",
    "build_positions",
    "canonicalize",
    "flex_mask_mod",
    "parse",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
