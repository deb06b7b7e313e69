"""JSON nodes plus arrays back to Python values: what `env_tree` read, in a new environment.

Objects are never built from what a file says: one that holds attributes is written into the object
already in its place. Enumerations and named tuples, which are values, are taken from classes that
the environment's own modules show.
"""

from __future__ import annotations

import collections
import enum
import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from rlcore.runtime.env_tree import (
    BIT_GENERATORS,
    OWN_STATE,
    Array,
    EnvStateUnavailable,
    attributes,
    children,
    code_name,
    slots,
)


class Decoder:
    """Rebuilds what :class:`~rlcore.runtime.env_tree.Encoder` read.

    Args:
        who: Names the environment in messages.
        arrays: The arrays that the nodes name.
        layers: The environment and its wrappers, whose modules show the classes of values.
    """

    def __init__(self, who: str, arrays: Mapping[str, Array], layers: Iterable[Any] = ()) -> None:
        self.who = who
        self.arrays = arrays
        self._made: dict[int, Any] = {}
        self._values = _value_classes(layers)

    def members(self, owner: Any, nodes: Mapping[str, Any]) -> None:
        """Set an object's attributes from their nodes."""
        live, fixed = attributes(owner), slots(type(owner))
        for name, node in nodes.items():
            value = self.decode(node, live.get(name))
            # Past the class: a property or __setattr__ of it must not interfere.
            if name in fixed:
                object.__setattr__(owner, name, value)
            else:
                vars(owner)[name] = value

    def decode(self, node: Any, live: Any) -> Any:
        """Return the value of ``node``; ``live`` is what stands in its place now."""
        if not isinstance(node, dict):
            return node
        if "f" in node:
            return float.fromhex(node["f"])
        if "enum" in node:
            kind = self._class(node["class"], live, enum.Enum)
            return kind[node["enum"]] if isinstance(node["enum"], str) else kind(node["enum"])
        if "letters" in node:
            return np.str_(node["letters"])
        if "scalar" in node:
            return self.arrays[node["scalar"]][()]
        if "code" in node:
            if live is None or code_name(live) != node["code"]:
                self._refuse(node["code"], live)
            return live
        if "ref" in node:
            return self._made[node["ref"]]
        value = self._compound(node, live)
        self._made[node["id"]] = value
        return value

    def _compound(self, node: dict[str, Any], live: Any) -> Any:
        for kind, build in _BUILDERS.items():
            if kind in node:
                return build(self, node, live)
        raise EnvStateUnavailable(f"{self.who}: the state has an entry of unknown kind {[*node]}")

    def _array(self, node: dict[str, Any], live: Any) -> Any:
        return np.array(self.arrays[node["array"]], order="F" if node["fortran"] else "C")

    def _text(self, node: dict[str, Any], live: Any) -> Any:
        letters = np.frombuffer(self.arrays[node["text"]].tobytes(), node["dtype"])
        return letters.reshape(node["shape"]).copy()

    def _bytes(self, node: dict[str, Any], live: Any) -> Any:
        if "bytes" in node:
            return self.arrays[node["bytes"]].tobytes()
        return bytearray(self.arrays[node["bytearray"]].tobytes())

    def _sequence(self, node: dict[str, Any], live: Any) -> Any:
        made: Any = [] if "list" in node else collections.deque(maxlen=node["maxlen"])
        self._made[node["id"]] = made  # before its items: one of them may hold it
        made.extend(self._items(node["list" if "list" in node else "deque"], live))
        return made

    def _value(self, node: dict[str, Any], live: Any) -> Any:
        if "namedtuple" in node:
            kind = self._class(node["class"], live, tuple)
            return kind(*self._items(node["namedtuple"], live))
        for name, build in _VALUES.items():
            if name in node:
                return build(self._items(node[name], live))
        build, ends = (range, node["range"]) if "range" in node else (slice, node["slice"])
        return build(*self._items(ends, None))

    def _dict(self, node: dict[str, Any], live: Any) -> Any:
        old = dict(live) if isinstance(live, dict) else {}
        kind = node.get("class", "dict of an earlier version")
        made = _empty_dict(kind, live)
        if made is None:
            self._refuse(f"a {kind}", live)
        self._made[node["id"]] = made
        for key_node, item in node["dict"]:
            key = self.decode(key_node, next(iter(old), None))
            made[key] = self.decode(item, old.get(key))
        return made

    def _items(self, nodes: list[Any], live: Any) -> list[Any]:
        olds = list(live) if isinstance(live, list | tuple | collections.deque) else []
        olds += [None] * (len(nodes) - len(olds))
        return [self.decode(node, old) for node, old in zip(nodes, olds, strict=False)]

    def _object(self, node: dict[str, Any], live: Any) -> Any:
        if type(live).__qualname__ != node["class"]:
            self._refuse(node["class"], live)
        if getattr(getattr(live, "__dataclass_params__", None), "frozen", False):
            # A constant that other environments may hold as well: it stays as it is.
            live, pattern = object.__new__(type(live)), live
            for name, value in attributes(pattern).items():
                object.__setattr__(live, name, value)
        self._made[node["id"]] = live
        self.members(live, node["object"])
        return live

    def _space(self, node: dict[str, Any], live: Any) -> Any:
        if type(live).__qualname__ != node["class"]:
            self._refuse(node["class"], live)
        live._np_random = self.decode(node["space"]["random"], live._np_random)
        for child_node, child in zip(node["space"]["children"], children(live), strict=True):
            self.decode(child_node, child)
        return live

    def _random(self, node: dict[str, Any], live: Any) -> random.Random:
        # In place: others may hold the same generator.
        made = live if type(live) is random.Random else random.Random()
        version, words, gauss = self.decode(node["random"], None)
        made.setstate((version, tuple(words.tolist()), gauss))
        return made

    def _generator(self, node: dict[str, Any], live: Any) -> Any:
        node = node["rng"]
        if "legacy" in node:
            legacy = live if isinstance(live, np.random.RandomState) else np.random.RandomState()
            legacy.set_state((node["bits"], *self.decode(node["legacy"], None)))
            return legacy
        if node["bits"] not in BIT_GENERATORS:
            raise EnvStateUnavailable(f"{self.who}: unknown generator {node['bits']!r}")
        bits = getattr(np.random, node["bits"])(0)
        bits.state = self.decode(node["state"], None)
        if isinstance(live, np.random.Generator) and type(live.bit_generator) is type(bits):
            live.bit_generator.state = bits.state  # in place: others may hold the same generator
            return live
        return np.random.Generator(bits)

    def _class(self, name: str, live: Any, base: type) -> Any:
        if isinstance(live, base) and type(live).__qualname__ == name:
            return type(live)
        kind = self._values.get(name)
        if kind is None or not issubclass(kind, base):
            self._refuse(name, live)
        return kind

    def _refuse(self, wanted: str, live: Any) -> NoReturn:
        found = "nothing" if live is None else type(live).__qualname__
        raise EnvStateUnavailable(
            f"{self.who}: the state has {wanted} where a new environment has {found}; {OWN_STATE}"
        )


_VALUES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}

_BUILDERS: dict[str, Any] = {
    "array": Decoder._array,
    "text": Decoder._text,
    "rng": Decoder._generator,
    "random": Decoder._random,
    "object": Decoder._object,
    "space": Decoder._space,
    "dict": Decoder._dict,
    **dict.fromkeys(("list", "deque"), Decoder._sequence),
    **dict.fromkeys((*_VALUES, "namedtuple", "range", "slice"), Decoder._value),
    **dict.fromkeys(("bytes", "bytearray"), Decoder._bytes),
}


def _empty_dict(kind: str, live: Any) -> Any:
    """Return an empty dict of that class, or none where only the old one knows how to make it."""
    if kind == "defaultdict":
        known = isinstance(live, collections.defaultdict)
        return collections.defaultdict(live.default_factory) if known else None
    builders = {
        "dict": dict,
        "Counter": collections.Counter,
        "OrderedDict": collections.OrderedDict,
    }
    return builders[kind]() if kind in builders else None


def _value_classes(layers: Iterable[Any]) -> dict[str, type]:
    """Return enumerations and named tuples that the modules and classes of ``layers`` name."""
    found: dict[str, type] = {}
    for layer in layers:
        for cls in type(layer).__mro__:
            for value in [
                *vars(sys.modules.get(cls.__module__, cls)).values(),
                *vars(cls).values(),
            ]:
                if isinstance(value, type) and (
                    issubclass(value, enum.Enum)
                    or (issubclass(value, tuple) and hasattr(value, "_fields"))
                ):
                    found.setdefault(value.__qualname__, value)
    return found
