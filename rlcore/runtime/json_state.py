"""JSON for states: every number survives, NaN and infinities and generator states included."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlcore.errors import CheckpointError

_FLOAT = "__float__"
_ARRAY = "__array__"


def dump_json(value: Any) -> bytes:
    """Return ``value`` as compact JSON in the order given.

    NumPy scalars become numbers, small NumPy arrays lists with their type, and non-finite floats
    ``{"__float__": "nan"}``, so that any reader of JSON can read it.

    Raises:
        CheckpointError: A value is none of these; the message says where it is.
    """
    text = json.dumps(_plain(value, ""), allow_nan=False, separators=(",", ":"))
    return text.encode()


def parse_json(text: bytes) -> Any:
    """Return what :func:`dump_json` was given; tuples come back as lists.

    Raises:
        ValueError: It is not such JSON.
    """
    try:
        return json.loads(text, object_hook=_restore)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _plain(value: Any, at: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else {_FLOAT: str(float(value))}
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Mapping):
        return {_key(key, at): _plain(item, f"{at}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{at}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        values = _plain(value.reshape(-1).tolist(), at)
        return {_ARRAY: [value.dtype.name, list(value.shape), values]}
    raise CheckpointError(
        f"state at {at.lstrip('.') or 'the top'} is a {type(value).__name__}; wanted JSON values"
    )


def _key(key: Any, at: str) -> str:
    if not isinstance(key, str):
        raise CheckpointError(
            f"state at {at.lstrip('.') or 'the top'} has key {key!r}; wanted text"
        )
    return key


def _restore(found: dict[str, Any]) -> Any:
    if len(found) != 1:
        return found
    if _FLOAT in found:
        return float(found[_FLOAT])
    if _ARRAY in found:
        try:
            dtype, shape, values = found[_ARRAY]
            return np.array(values, _number_type(dtype)).reshape(shape)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"bad array: {error}") from None
    return found


def _number_type(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in "biuf":
        raise ValueError(f"bad array: type {name!r:.40}")
    return dtype


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the exact state of a NumPy generator, for :func:`dump_json`."""
    return dict(generator.bit_generator.state)


def restore_generator(generator: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Bring ``generator`` to a state that :func:`generator_state` returned.

    Raises:
        CheckpointError: The state is of another kind of bit generator, or not one.
    """
    try:
        generator.bit_generator.state = dict(state)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"no state of {type(generator.bit_generator).__name__}: {error}"
        ) from None
