"""The exact state of environments, read and restored without pickle.

Every layer of a wrapper chain is read on its own, outermost first:

* a layer with ``get_state()`` and ``set_state(state)`` is asked (``state`` may be any nesting of
  numbers, strings, containers and arrays);
* the emulator of an Atari environment is cloned with its random generator;
* of any other layer the attributes are read one by one (:mod:`rlcore.runtime.env_tree`).

State outside the attributes (module globals, closures, arguments of partial functions) is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlcore.runtime.env_rebuild import Decoder
from rlcore.runtime.env_tree import Encoder, EnvStateUnavailable

__all__ = ["EnvStateUnavailable", "capture", "restore"]


def capture(env: Any, who: str) -> dict[str, Any]:
    """Return the state of a plain or vector environment as JSON values and arrays.

    Args:
        env: The environment with all its wrappers.
        who: Names it in messages.

    Returns:
        ``{"json": [one entry a layer], "arrays": {name: array}}``.

    Raises:
        EnvStateUnavailable: A member is neither data nor known to be without influence.
    """
    encoder = Encoder(who)
    layers = [_capture_layer(layer, index, encoder) for index, layer in enumerate(_layers(env))]
    return {"json": layers, "arrays": encoder.arrays}


def restore(env: Any, state: Mapping[str, Any], who: str) -> None:
    """Put an environment, made in the same way, into the state that ``capture`` returned.

    Raises:
        EnvStateUnavailable: The state belongs to another chain of wrappers, or has something that
            a new environment lacks. The environment must be reset before it is used.
    """
    layers = list(_layers(env))
    entries = state["json"]
    found = [type(layer).__qualname__ for layer in layers]
    wanted = [entry["class"] for entry in entries]
    if found != wanted:
        raise EnvStateUnavailable(f"{who}: the state belongs to {wanted}, this is {found}")
    decoder = Decoder(who, state["arrays"], layers)
    for layer, entry in zip(layers, entries, strict=True):
        _restore_layer(layer, entry, decoder)


def _layers(env: Any) -> Iterator[Any]:
    while True:
        yield env
        inner = _inner(env)
        if inner is None:
            return
        env = inner


def _inner(layer: Any) -> Any:
    inner = vars(layer).get("env") if hasattr(layer, "__dict__") else None
    return inner if hasattr(inner, "step") else None


def _offers_state(layer: Any) -> bool:
    return callable(getattr(type(layer), "get_state", None)) and callable(
        getattr(type(layer), "set_state", None)
    )


def _capture_layer(layer: Any, index: int, encoder: Encoder) -> dict[str, Any]:
    path = f"{index}:{type(layer).__name__}"
    entry: dict[str, Any] = {"class": type(layer).__qualname__}
    if _offers_state(layer):
        entry["own"] = encoder.encode(layer.get_state(), path)
        return entry
    ale = vars(layer).get("ale")
    elsewhere = {"ale"} if _inner(layer) is None else {"ale", "env"}
    entry["members"] = encoder.members(layer, path, frozenset(elsewhere))
    if ale is not None:
        entry["ale"] = _capture_ale(ale, path, encoder)
    return entry


def _restore_layer(layer: Any, entry: Mapping[str, Any], decoder: Decoder) -> None:
    if "own" in entry:
        layer.set_state(decoder.decode(entry["own"], None))
        return
    decoder.members(layer, entry["members"])
    if "ale" in entry:
        _restore_ale(layer.ale, entry["ale"], decoder)


def _capture_ale(ale: Any, path: str, encoder: Encoder) -> Any:
    if not hasattr(ale, "cloneState"):
        raise EnvStateUnavailable(
            f"{encoder.who}: the native vector emulator {type(ale).__name__} offers no state; "
            "set env.vectorization: sync, or accept fresh episodes on resume"
        )
    data = ale.cloneState(include_rng=True).__getstate__()
    return encoder.encode(np.frombuffer(data, np.uint8), f"{path}.ale")


def _restore_ale(ale: Any, node: Any, decoder: Decoder) -> None:
    import ale_py

    state = ale_py.ALEState.__new__(ale_py.ALEState)
    state.__setstate__(decoder.decode(node, None).tobytes())
    ale.restoreState(state)
