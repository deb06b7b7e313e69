"""Reading the fields of a JSON request: each is checked, and what is unknown is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from rlcore.inference.serving.http import HttpError

Value = TypeVar("Value")


def wrong(name: str, found: Any, wanted: str) -> NoReturn:
    """Refuse a field."""
    raise HttpError(400, f"{name} must be {wanted}, got {shown(found)}", param=name)


def shown(value: Any) -> str:
    """Return a value in a few characters."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        HttpError: It is not UTF-8 JSON, names a key twice, or holds something else.
    """
    try:
        tree = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise HttpError(400, f"the body is not valid JSON: {reason[:200]}") from None
    if not isinstance(tree, dict):
        raise HttpError(400, f"the body must be a JSON object, got {shown(tree)}")
    return tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r:.60} twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


class Fields:
    """The fields of an object; each is taken once, and :meth:`finish` refuses the rest.

    Fields that are null are the same as missing ones.
    """

    def __init__(self, tree: Mapping[str, Any], place: str = ""):
        self._left = {name: value for name, value in tree.items() if value is not None}
        self._place = place

    def take(self, name: str) -> Any:
        """Return a field of any type, or ``None``."""
        return self._left.pop(name, None)

    def boolean(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        value = self._left.pop(name, default)
        return value if isinstance(value, bool) else wrong(self._place + name, value, "a boolean")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number in ``low..high``."""
        value = self._left.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            wrong(self._place + name, value, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a finite number in ``[low, high]``."""
        value = self._left.pop(name, default)
        # Compared before it is made a float, which a long integer cannot become.
        if type(value) not in (int, float) or not low <= value <= high:
            wrong(self._place + name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def string(self, name: str, default: str = "") -> str:
        """Return a text."""
        value = self._left.pop(name, default)
        return value if isinstance(value, str) else wrong(self._place + name, value, "a string")

    def strings(self, name: str, most: int, longest: int) -> tuple[str, ...]:
        """Return one text or a list of at most ``most``, each non-empty."""
        value = self._left.pop(name, ())
        texts = (value,) if isinstance(value, str) else tuple(value) if _listed(value) else None
        if texts is None or len(texts) > most or not all(isinstance(t, str) for t in texts):
            wrong(self._place + name, value, f"a string or a list of at most {most} strings")
        if not all(0 < len(text) <= longest for text in texts):
            wrong(self._place + name, value, f"strings of 1 to {longest} characters")
        return texts

    def default_only(self, name: str, *defaults: Any) -> None:
        """Take a field that is not supported: only the values that change nothing pass."""
        value = self._left.pop(name, None)
        if value is not None and not any(value == d and type(value) is type(d) for d in defaults):
            raise HttpError(
                400, f"{self._place}{name} is not supported, got {shown(value)}",
                param=name, code="unsupported_parameter",
            )  # fmt: skip

    def finish(self) -> None:
        """Refuse what is left."""
        for name in self._left:
            raise HttpError(
                400, f"unknown field {self._place}{shown(name)}", param=name[:60],
                code="unknown_parameter",
            )  # fmt: skip


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)
