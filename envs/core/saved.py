"""Copies of a model's state, and their way back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.core.model import State


def copied(state: State) -> dict[str, Any]:
    """Return a copy that shares nothing with ``state``.

    An array of objects (texts of any length, say) becomes a list of them with its shape, which can
    be written as JSON where they can; tuples come back from there as tuples.
    """
    return {name: _saved(array) for name, array in state.items()}


def _saved(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.copy()
    cells = copy.deepcopy(array.ravel().tolist())
    tuples = all(isinstance(cell, tuple) for cell in cells)
    return {"shape": [*array.shape], "objects": cells, "tuples": tuples}


def _loaded(saved: Any) -> np.ndarray:
    if not isinstance(saved, Mapping):
        return np.array(saved)
    array = np.empty(len(saved["objects"]), object)
    for k, one in enumerate(saved["objects"]):  # a list in a cell stays a list
        was_written = saved["tuples"] and isinstance(one, list)
        array[k] = _frozen(one) if was_written else copy.deepcopy(one)
    return array.reshape(saved["shape"])


def _frozen(value: Any) -> Any:
    """Return tuples that JSON has made lists of as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def restored(id: str, saved: Mapping[str, Any], n: int, present: State | None) -> State:
    """Return a copy of a saved state.

    Args:
        id: Gymnasium id, for messages.
        saved: As ``copied`` returned it.
        n: How many environments it must hold.
        present: The state that it replaces, if there is one: names, shapes and dtypes must agree.

    Raises:
        ValueError: It belongs to another environment.
    """
    state = {name: _loaded(array) for name, array in saved.items()}
    for name, array in state.items():
        if array.shape[:1] != (n,):
            raise ValueError(f"{id}: the saved {name} has shape {array.shape}, wanted {n} rows")
    if present is not None and _forms(state) != _forms(present):
        strange = sorted(set(_forms(state).items()) ^ set(_forms(present).items()), key=str)
        raise ValueError(f"{id}: the saved state belongs to another environment: {strange}")
    return state


def _forms(state: State) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        name: (array.shape, "text" if array.dtype.kind in "US" else array.dtype.str)
        for name, array in state.items()
    }
