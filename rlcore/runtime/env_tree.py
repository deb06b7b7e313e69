"""Python values to JSON plus arrays and back, bit for bit, without pickle.

Only data is read: numbers, strings, containers, arrays and NumPy generators. Objects of other
classes are never built; one that holds such data is written into the object already in its place.
"""

from __future__ import annotations

import collections
import enum
import functools
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlcore.errors import RlcoreError

Array = np.ndarray[Any, Any]

_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")

_FIXED_TYPES = (
    type,
    enum.Enum,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    np.ufunc,
    np.dtype,
    range,
    slice,
)
"""Values that a new environment has in the same form already."""

_FIXED_NAMES = frozenset({
    "spec", "metadata", "_metadata", "_cached_spec", "_saved_kwargs", "_ezpickle_args",
    "_ezpickle_kwargs", "screen", "screens", "surf", "clock", "isopen", "viewer", "renderer",
    "window", "window_surface", "font", "render_mode", "_logger", "logger",
})  # fmt: skip
"""Attributes that describe or draw an environment and take no part in its dynamics."""


class EnvStateUnavailable(RlcoreError):
    """An environment's state cannot be read or restored exactly; the message names the member."""


class Encoder:
    """Turns values into JSON nodes and collects their arrays.

    Args:
        who: Names the environment in messages.
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self.arrays: dict[str, Array] = {}
        self._seen: dict[int, tuple[int, Any]] = {}

    def members(self, owner: Any, path: str, skip: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the nodes of an object's attributes, less those that never change."""
        return {
            name: self.encode(value, f"{path}.{name}")
            for name, value in vars(owner).items()
            if name not in _FIXED_NAMES and name not in skip and not isinstance(value, _FIXED_TYPES)
        }

    def encode(self, value: Any, path: str) -> Any:
        """Return the JSON node of ``value``.

        Raises:
            EnvStateUnavailable: ``value`` holds something that is not data.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return {"f": value.hex()}
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), path)}
        if isinstance(value, _FIXED_TYPES):
            return {"same": type(value).__name__}
        if id(value) in self._seen:
            return {"ref": self._seen[id(value)][0]}
        # The value is kept alive so that its id stays its own.
        number = len(self._seen)
        self._seen[id(value)] = (number, value)
        return {"id": number, **self._compound(value, path)}

    def _compound(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, np.ndarray):
            self._refuse_overlap(value, path)
            if (
                value.dtype.kind in "SU"
            ):  # letters of a map, say; files of tensors hold numbers only
                data = np.frombuffer(value.tobytes(), np.uint8)
                shape = list(value.shape)
                return {"text": self._array(data, path), "dtype": value.dtype.str, "shape": shape}
            fortran = value.flags.f_contiguous and not value.flags.c_contiguous
            return {"array": self._array(value, path), "fortran": fortran}
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return {"rng": self._generator(value, path)}
        if type(value) in (list, tuple):
            return {type(value).__name__: self._items(value, path)}
        if isinstance(value, collections.deque):
            return {"deque": self._items(value, path), "maxlen": value.maxlen}
        if type(value) in (set, frozenset):
            return {type(value).__name__: self._items(sorted(value), path)}
        if isinstance(value, dict):
            pairs = [
                [self.encode(key, f"{path}.key"), self.encode(item, f"{path}[{key!r}]")]
                for key, item in value.items()
            ]
            return {"dict": pairs}
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: self._array(np.frombuffer(value, np.uint8), path)}
        kind = "space" if _is_space(value) else "object"
        return {kind: self._object(value, path), "class": type(value).__qualname__}

    def _items(self, values: Any, path: str) -> list[Any]:
        return [self.encode(item, f"{path}[{index}]") for index, item in enumerate(values)]

    def _object(self, value: Any, path: str) -> Any:
        if _is_space(value):
            # Bounds and sizes are fixed; what changes is the generator that sample() draws from.
            return {
                "random": self.encode(value._np_random, f"{path}._np_random"),
                "children": [self.encode(child, f"{path}.spaces") for child in _children(value)],
            }
        if not hasattr(value, "__dict__") or type(value).__module__ == "builtins":
            raise EnvStateUnavailable(
                f"{self.who}: {path} is a {type(value).__module__}.{type(value).__qualname__}, "
                "which cannot be read exactly; give the environment get_state() and "
                "set_state(state), or accept fresh episodes on resume"
            )
        return self.members(value, path)

    def _generator(self, value: Any, path: str) -> Any:
        bits = value._bit_generator if hasattr(value, "_bit_generator") else value.bit_generator
        name = type(bits).__name__
        if name not in _BIT_GENERATORS:
            raise EnvStateUnavailable(f"{self.who}: {path} draws from the unknown generator {name}")
        if isinstance(value, np.random.RandomState):
            kind, keys, position, has_gauss, gauss = value.get_state()
            state = [keys, int(position), int(has_gauss), float(gauss)]
            return {"legacy": self.encode(state, path), "bits": str(kind)}
        return {"bits": name, "state": self.encode(bits.state, path)}

    def _array(self, value: Array, path: str) -> str:
        if value.dtype.kind not in "biuf" or value.itemsize > 8 or not value.dtype.isnative:
            raise EnvStateUnavailable(f"{self.who}: {path} is an array of {value.dtype}")
        key = path if path not in self.arrays else f"{path}~{len(self.arrays)}"
        self.arrays[key] = np.array(value, order="C")
        return key

    def _refuse_overlap(self, value: Array, path: str) -> None:
        for _, other in self._seen.values():
            if (
                isinstance(other, np.ndarray)
                and other is not value
                and np.may_share_memory(value, other)
                and value.size
                and other.size
            ):
                raise EnvStateUnavailable(
                    f"{self.who}: {path} shares memory with another member; "
                    "give the environment get_state() and set_state(state)"
                )


class Decoder:
    """Rebuilds what :class:`Encoder` read, with the objects already in place as a pattern.

    Args:
        who: Names the environment in messages.
        arrays: The arrays that the nodes name.
    """

    def __init__(self, who: str, arrays: Mapping[str, Array]) -> None:
        self.who = who
        self.arrays = arrays
        self._made: dict[int, Any] = {}

    def members(self, owner: Any, nodes: Mapping[str, Any]) -> None:
        """Set an object's attributes from their nodes."""
        held = vars(owner)
        for name, node in nodes.items():
            # Through __dict__: a property or __setattr__ of the class must not interfere.
            held[name] = self.decode(node, held.get(name))

    def decode(self, node: Any, live: Any) -> Any:
        """Return the value of ``node``; ``live`` is what stands in its place now."""
        if not isinstance(node, dict):
            return node
        if "f" in node:
            return float.fromhex(node["f"])
        if "scalar" in node:
            return self.arrays[node["scalar"]][()]
        if "same" in node:
            return live
        if "ref" in node:
            return self._made[node["ref"]]
        value = self._compound(node, live)
        self._made[node["id"]] = value
        return value

    def _compound(self, node: dict[str, Any], live: Any) -> Any:
        if "array" in node:
            return np.array(self.arrays[node["array"]], order="F" if node["fortran"] else "C")
        if "text" in node:
            letters = np.frombuffer(self.arrays[node["text"]].tobytes(), node["dtype"])
            return letters.reshape(node["shape"]).copy()
        if "rng" in node:
            return self._generator(node["rng"], live)
        if "object" in node or "space" in node:
            return self._object(node, live)
        if "dict" in node:
            old = live if isinstance(live, dict) else {}
            made = {}
            for key_node, item in node["dict"]:
                key = self.decode(key_node, None)
                made[key] = self.decode(item, old.get(key))
            # A subclass such as OrderedDict keeps its class.
            return made if type(live) in (dict, type(None)) else _refill(live, made)
        for name, build in _SEQUENCES.items():
            if name in node:
                return build(self._items(node[name], live))
        if "deque" in node:
            return collections.deque(self._items(node["deque"], live), maxlen=node["maxlen"])
        if "bytes" in node:
            return self.arrays[node["bytes"]].tobytes()
        return bytearray(self.arrays[node["bytearray"]].tobytes())

    def _items(self, nodes: list[Any], live: Any) -> list[Any]:
        olds = list(live) if isinstance(live, list | tuple | collections.deque) else []
        olds += [None] * (len(nodes) - len(olds))
        return [self.decode(node, old) for node, old in zip(nodes, olds, strict=False)]

    def _object(self, node: dict[str, Any], live: Any) -> Any:
        if type(live).__qualname__ != node["class"]:
            raise EnvStateUnavailable(
                f"{self.who}: the state has a {node['class']} where a new environment has "
                f"{type(live).__qualname__}; give the environment get_state() and set_state(state)"
            )
        self._made[node["id"]] = live
        if "space" in node:
            live._np_random = self.decode(node["space"]["random"], live._np_random)
            for child_node, child in zip(node["space"]["children"], _children(live), strict=True):
                self.decode(child_node, child)
        else:
            self.members(live, node["object"])
        return live

    def _generator(self, node: dict[str, Any], live: Any) -> Any:
        if "legacy" in node:
            random = live if isinstance(live, np.random.RandomState) else np.random.RandomState()
            random.set_state((node["bits"], *self.decode(node["legacy"], None)))
            return random
        if node["bits"] not in _BIT_GENERATORS:
            raise EnvStateUnavailable(f"{self.who}: unknown generator {node['bits']!r}")
        bits = getattr(np.random, node["bits"])(0)
        bits.state = self.decode(node["state"], None)
        if isinstance(live, np.random.Generator) and type(live.bit_generator) is type(bits):
            live.bit_generator.state = bits.state  # in place: others may hold the same generator
            return live
        return np.random.Generator(bits)


_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def _is_space(value: Any) -> bool:
    from gymnasium import Space

    return isinstance(value, Space)


def _children(space: Any) -> list[Any]:
    children = getattr(space, "spaces", ())
    return list(children.values()) if isinstance(children, dict) else list(children)


def _refill(live: Any, made: dict[Any, Any]) -> Any:
    if not isinstance(live, dict):
        return made
    live.clear()
    live.update(made)
    return live
