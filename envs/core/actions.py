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
    """

    def __init__(self, id: str, space: Space[Any]) -> None:
        self._id = id
        self._space = space
        if isinstance(space, spaces.Box):
            self._shape, self._dtype = space.shape, space.dtype
        elif isinstance(space, spaces.Discrete):
            self._shape, self._dtype = (), np.dtype(np.int64)
            self._low, self._high = int(space.start), int(space.start + space.n)
        elif isinstance(space, spaces.MultiDiscrete):
            self._shape, self._dtype = space.shape, np.dtype(np.int64)
            self._low, self._high = 0, space.nvec
        else:
            raise TypeError(f"{id}: no check for actions of {space}")

    def __call__(self, actions: Any, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the actions ``[n, ...]`` and, if continuous, how many numbers a row had clipped.

        Raises:
            InvalidActionError: Wrong shape or type, NaN, or outside a discrete range.
        """
        array = np.asarray(actions)
        if array.shape != (n, *self._shape):
            raise InvalidActionError(
                f"{self._id}: an action has shape {array.shape[1:]} in a batch of {array.shape[:1]}"
                f", wanted {self._shape} in a batch of ({n},)"
            )
        if isinstance(self._space, spaces.Box):
            return self._clipped(array)
        if not np.issubdtype(array.dtype, np.integer):
            raise InvalidActionError(f"{self._id}: actions are {array.dtype}, wanted integers")
        if ((array < self._low) | (array >= self._high)).any():
            bad = array[((array < self._low) | (array >= self._high)).reshape(n, -1).any(-1)][0]
            raise InvalidActionError(f"{self._id}: action {bad}, wanted one of {self._space}")
        return array.astype(self._dtype, copy=False), None

    def _clipped(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(self._space, spaces.Box)
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise InvalidActionError(f"{self._id}: actions are {array.dtype}, wanted numbers")
        array = array.astype(self._dtype)  # a copy: the caller's array is never written to
        if np.isnan(array).any():
            raise InvalidActionError(f"{self._id}: an action is not a number: {array}")
        outside = (array < self._space.low) | (array > self._space.high)
        if outside.any():
            np.clip(array, self._space.low, self._space.high, out=array)
        axes = tuple(range(1, array.ndim))
        return array, outside.sum(axes).astype(np.int64) if axes else outside.astype(np.int64)
