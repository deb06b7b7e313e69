"""Python values to JSON plus arrays, bit for bit, without pickle; the way back is `env_rebuild`.

Only data is read: numbers, strings, enumerations, containers, arrays and random generators, and
objects that consist of such attributes. Whatever else is met is refused by name, never left out,
with three exceptions that a new environment has by itself: what describes it (``spec``), what
draws it (``screen``), and code, whose name is recorded and compared.
"""

from __future__ import annotations

import collections
import enum
import functools
import random
import types
from typing import Any, NoReturn

import numpy as np

from rlcore.errors import RlcoreError

Array = np.ndarray[Any, Any]

BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")

_CODE_TYPES = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    np.ufunc,
    np.dtype,
)

_DESCRIPTIONS = frozenset({
    "spec", "metadata", "_metadata", "_cached_spec", "_saved_kwargs", "_ezpickle_args",
    "_ezpickle_kwargs", "render_mode", "_logger", "logger",
})  # fmt: skip
"""Attributes that describe an environment and take no part in its dynamics."""

_DRAWINGS = frozenset({
    "screen", "screens", "surf", "clock", "isopen", "viewer", "renderer", "window",
    "window_surface", "font",
})  # fmt: skip
"""Attributes that usually hold what draws an environment; data under these names is state."""

_DICTS = (dict, collections.defaultdict, collections.Counter, collections.OrderedDict)
_POINTER = np.dtype(np.intp).itemsize
OWN_STATE = "give the environment get_state() and set_state(state)"


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
        self._unfinished: set[int] = set()

    def members(self, owner: Any, path: str, skip: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the nodes of an object's attributes, less those that never change."""
        return {
            name: self.encode(value, f"{path}.{name}")
            for name, value in attributes(owner).items()
            if name not in skip
            and name not in _DESCRIPTIONS
            and (name not in _DRAWINGS or _is_data(value))
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
        if isinstance(value, enum.Enum):
            name = value.value if isinstance(value, enum.Flag) else value.name
            return {"enum": name, "class": type(value).__qualname__}
        if type(value) is np.str_:
            return {"letters": str(value)}
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), path)}
        if isinstance(value, _CODE_TYPES):
            return {"code": code_name(value)}
        if id(value) in self._seen:
            number = self._seen[id(value)][0]
            if number in self._unfinished:
                self._refuse(path, "a tuple that holds itself")
            return {"ref": number}
        # The value is kept alive so that its id stays its own.
        number = len(self._seen)
        self._seen[id(value)] = (number, value)
        if isinstance(value, tuple | frozenset):
            self._unfinished.add(number)
        node = {"id": number, **self._compound(value, path)}
        self._unfinished.discard(number)
        return node

    def _compound(self, value: Any, path: str) -> dict[str, Any]:
        if type(value) is np.ndarray:
            return self._ndarray(value, path)
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return {"rng": self._generator(value, path)}
        if type(value) is random.Random:
            version, words, gauss = value.getstate()
            return {"random": self.encode([version, np.array(words, np.uint32), gauss], path)}
        if type(value) in (list, tuple):
            return {type(value).__name__: self._items(value, path)}
        if type(value) is collections.deque:
            return {"deque": self._items(value, path), "maxlen": value.maxlen}
        if type(value) in (set, frozenset):
            return {type(value).__name__: self._items(self._ordered(value, path), path)}
        if type(value) in _DICTS:
            pairs = [
                [self.encode(key, f"{path}.key"), self.encode(item, f"{path}[{key!r}]")]
                for key, item in value.items()
            ]
            return {"dict": pairs, "class": type(value).__name__}
        if type(value) in (bytes, bytearray):
            return {type(value).__name__: self._array(np.frombuffer(value, np.uint8), path)}
        if type(value) in (range, slice):
            ends = (value.start, value.stop, value.step)
            return {type(value).__name__: self._items(ends, path)}
        name = type(value).__qualname__
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {"namedtuple": self._items(value, path), "class": name}
        kind = "space" if is_space(value) else "object"
        return {kind: self._object(value, path), "class": name}

    def _ndarray(self, value: Array, path: str) -> dict[str, Any]:
        self._refuse_overlap(value, path)
        if value.dtype.kind in "SU":  # letters of a map, say; tensor files hold numbers only
            data = np.frombuffer(value.tobytes(), np.uint8)
            shape = list(value.shape)
            return {"text": self._array(data, path), "dtype": value.dtype.str, "shape": shape}
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        return {"array": self._array(value, path), "fortran": fortran}

    def _items(self, values: Any, path: str) -> list[Any]:
        return [self.encode(item, f"{path}[{index}]") for index, item in enumerate(values)]

    def _ordered(self, value: Any, path: str) -> list[Any]:
        """Return the elements of a set in an order from which it is rebuilt with its own order."""
        for elements in (list(value), sorted(value, key=repr)):
            if list(set(elements)) == list(value):
                return elements
        # Its order depends on elements that it held once; a dynamics that runs over it would part.
        self._refuse(path, "a set whose order cannot be rebuilt (a dict with its keys can)")

    def _object(self, value: Any, path: str) -> Any:
        if is_space(value):
            # Bounds and sizes are fixed; what changes is the generator that sample() draws from.
            return {
                "random": self.encode(value._np_random, f"{path}._np_random"),
                "children": [self.encode(child, f"{path}.spaces") for child in children(value)],
            }
        if not _is_plain(type(value)):
            self._refuse(path, f"a {type(value).__module__}.{type(value).__qualname__}")
        return self.members(value, path)

    def _generator(self, value: Any, path: str) -> Any:
        bits = value._bit_generator if hasattr(value, "_bit_generator") else value.bit_generator
        name = type(bits).__name__
        if name not in BIT_GENERATORS:
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

    def _refuse(self, path: str, what: str) -> NoReturn:
        raise EnvStateUnavailable(
            f"{self.who}: {path} is {what}, which cannot be read exactly; {OWN_STATE}, "
            "or accept fresh episodes on resume"
        )

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
                    f"{self.who}: {path} shares memory with another member; {OWN_STATE}"
                )


def attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in ``__slots__`` among them."""
    found = dict(getattr(owner, "__dict__", {}))
    for name in slots(type(owner)):
        if hasattr(owner, name):
            found[name] = getattr(owner, name)
    return found


def slots(cls: type) -> list[str]:
    """Return the names of the slots of a class and its bases, as attributes are named."""
    found = []
    for base in cls.__mro__:
        own = base.__dict__.get("__slots__", ())
        for name in (own,) if isinstance(own, str) else tuple(own):
            private = name.startswith("__") and not name.endswith("__")
            if name not in ("__dict__", "__weakref__"):
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return found


def code_name(value: Any) -> str:
    """Return the name by which code is compared: that of a function, class, module or dtype."""
    if isinstance(value, functools.partial):
        return f"partial {code_name(value.func)}"
    if isinstance(value, np.dtype):
        return str(value)
    name = str(getattr(value, "__qualname__", getattr(value, "__name__", type(value).__name__)))
    # Functions without a name of their own differ by where they stand.
    line = value.__code__.co_firstlineno if name.endswith("<lambda>") else ""
    return f"{name}{line}"


def is_space(value: Any) -> bool:
    """Return whether ``value`` is a Gymnasium space."""
    from gymnasium import Space

    return isinstance(value, Space)


def children(space: Any) -> list[Any]:
    """Return the spaces that a compound space consists of."""
    inner = getattr(space, "spaces", ())
    return list(inner.values()) if isinstance(inner, dict) else list(inner)


def _is_plain(cls: type) -> bool:
    """Return whether the attributes of an object are all there is to it.

    An object written in C, or one that inherits from a built-in container or number, is larger
    than its attributes; what it holds there cannot be seen.
    """
    size = object.__basicsize__ + _POINTER * len(slots(cls))
    size += _POINTER * (cls.__dictoffset__ > 0) + _POINTER * (cls.__weakrefoffset__ > 0)
    return cls.__module__ != "builtins" and cls.__basicsize__ <= size and not cls.__itemsize__


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_data(key) and _is_data(item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return all(_is_data(item) for item in value)
    return isinstance(value, int | float | str | bytes | np.generic | np.ndarray | enum.Enum)
