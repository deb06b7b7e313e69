"""Checks of a batch of actions against the space of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space, spaces

from envs.core.errors import InvalidActionError


class ActionCheck:
    """Turns what a caller passes into an array that a model may trust.

    Args:
        id: Gymnasium id, for messages.
        space: Action space of one environment.

    Raises:
        TypeError: The space is neither ``Box``, ``Discrete``, ``MultiDiscrete`` nor ``Text``.
    """

    def __init__(self, id: str, space: Space[Any]) -> None:
        self._id = id
        self._space = space
        self._low: Any = None
        self._high: Any = None
        if isinstance(space, spaces.Text):
            return
        if isinstance(space, spaces.Box):
            self._shape, self._dtype = space.shape, space.dtype
            self._low, self._high = space.low, space.high
            self._common = space.low.max(initial=-np.inf), space.high.min(initial=np.inf)
            """Bounds of what is inside all bounds."""
        elif isinstance(space, spaces.Discrete):
            self._shape, self._dtype = (), np.dtype(np.int64)
            self._low, self._high = int(space.start), int(space.start) + int(space.n) - 1
        elif isinstance(space, spaces.MultiDiscrete):
            self._shape, self._dtype = space.shape, np.dtype(np.int64)
            start, sizes = np.asarray(space.start, np.int64), np.asarray(space.nvec, np.int64)
            self._low, self._high = start, start + sizes - 1
        else:
            raise TypeError(f"{id}: no check for actions of {space}")
        self._harmless = np.clip(np.zeros(self._shape), self._low, self._high).astype(self._dtype)

    def one(self, action: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the action of a single environment as a batch of one; see ``__call__``."""
        if isinstance(self._space, spaces.Text):
            return _texts(self._id, [action], None), None
        return self(self._array(action)[None], 1)

    def __call__(
        self, actions: Any, n: int, live: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the actions ``[n, ...]`` and, if continuous, how many numbers a row had clipped.

        Args:
            actions: What the caller passed.
            n: How many environments.
            live: Bool ``[n]``, the rows whose action counts. The others are not looked at: a
                harmless action takes their place.

        Raises:
            InvalidActionError: Wrong shape or type, NaN, or outside a discrete range.
        """
        if isinstance(self._space, spaces.Text):
            if isinstance(actions, (str, bytes)) or not hasattr(actions, "__iter__"):
                raise InvalidActionError(
                    f"{self._id}: actions are {actions!r:.60}, wanted {n} texts"
                )
            given = list(actions)
            if len(given) != n:
                raise InvalidActionError(f"{self._id}: {len(given)} texts, wanted {n}")
            return _texts(self._id, given, live), None
        array = self._array(actions)
        if array.shape != (n, *self._shape):
            raise InvalidActionError(
                f"{self._id}: actions have shape {array.shape}, wanted {(n, *self._shape)}"
                f" (environments first, then {self._space})"
            )
        self._check_kind(array)
        if live is not None:
            array = array.copy()
            array[~live] = self._harmless.astype(array.dtype)
        if isinstance(self._space, spaces.Box):
            return self._clipped(array)
        outside = (array < self._low) | (array > self._high)
        if outside.any():
            bad = array[outside.reshape(n, -1).any(-1)][0]
            raise InvalidActionError(f"{self._id}: action {bad}, wanted one of {self._space}")
        return array.astype(self._dtype, copy=False), None

    def _array(self, actions: Any) -> np.ndarray:
        try:
            return np.asarray(actions)
        except (ValueError, TypeError) as error:  # rows of different lengths, for one
            raise InvalidActionError(f"{self._id}: actions are no array: {error}") from None

    def _check_kind(self, array: np.ndarray) -> None:
        continuous = isinstance(self._space, spaces.Box)
        kinds = "iuf" if continuous else "iu"
        if array.dtype.kind not in kinds:
            wanted = "numbers" if continuous else "integers"
            raise InvalidActionError(f"{self._id}: actions are {array.dtype}, wanted {wanted}")

    def _clipped(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):  # beyond the type's range is infinity, which is clipped
            own = array.astype(self._dtype)  # a copy: the caller's array is never written to
        low, high = self._common
        if not own.size or (own.min() >= low and own.max() <= high):  # two numbers are quicker
            return own, np.zeros(len(own), np.int64)
        inside = (own >= self._low) & (own <= self._high)
        if np.isnan(own).any():
            raise InvalidActionError(f"{self._id}: an action is not a number: {array}")
        np.clip(own, self._low, self._high, out=own)
        clipped: np.ndarray = (~inside).sum(tuple(range(1, own.ndim))).astype(np.int64)
        return own, clipped


def _texts(id: str, given: list[Any], live: np.ndarray | None) -> np.ndarray:
    """Return texts as an object array: NumPy's own string arrays cut trailing null characters.

    Which letters and how many there may be is for the rules to say, as it is what they play with.
    """
    texts = np.full(len(given), "", object)
    if set(map(type, given)) == {str}:
        texts[:] = given
        if live is not None:
            texts[~live] = ""
        return texts
    for k, text in enumerate(given):
        if live is not None and not live[k]:
            continue
        if not isinstance(text, str):
            raise InvalidActionError(f"{id}: an action is {text!r:.60}, wanted a text")
        texts[k] = text
    return texts
