"""Nested state dictionaries to flat tensors plus JSON, and back: checkpoints hold nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_TENSOR = "__tensor__"


def split_state(state: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Take the tensors out of a nested structure of dicts and lists.

    Returns:
        The tensors by path (``a/b/0``), and the structure with ``{"__tensor__": path}`` in their
        places.

    Raises:
        TypeError: A leaf is neither a tensor nor a JSON value.
    """
    if isinstance(state, Tensor):
        return {prefix: state.detach()}, {_TENSOR: prefix}
    if isinstance(state, Mapping):
        items = [(str(key), value) for key, value in state.items()]
    elif isinstance(state, list | tuple):
        items = [(str(index), value) for index, value in enumerate(state)]
    elif state is None or isinstance(state, bool | int | float | str):
        return {}, state
    else:
        raise TypeError(f"state at {prefix!r} is a {type(state).__name__}; wanted tensor or JSON")
    tensors: dict[str, Tensor] = {}
    parts = {}
    for key, value in items:
        found, parts[key] = split_state(value, f"{prefix}/{key}" if prefix else key)
        tensors |= found
    return tensors, parts if isinstance(state, Mapping) else list(parts.values())


def join_state(tensors: Mapping[str, Tensor], structure: Any) -> Any:
    """Put tensors back where ``split_state`` found them.

    Raises:
        KeyError: A tensor is missing.
    """
    if isinstance(structure, Mapping):
        if set(structure) == {_TENSOR}:
            return tensors[structure[_TENSOR]]
        return {key: join_state(tensors, value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [join_state(tensors, value) for value in structure]
    return structure
