"""What NumPy and torch call by different names, so that batched code is written once for both.

Operators, comparisons, indexing with arrays and the methods used (``any``, ``sum``, ``argmax``,
``cumsum``, ``reshape``) are the same in both.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Arrays(Protocol):
    """A library of arrays on one device. Names of dtypes are NumPy's."""

    def array(self, values: Any, dtype: str = "int64") -> Any:
        """Return ``values`` as an array of this library; shares memory where it can."""

    def full(self, shape: tuple[int, ...], value: int, dtype: str = "int64") -> Any:
        """Return an array filled with ``value``."""

    def arange(self, stop: int) -> Any:
        """Return 0 to ``stop - 1`` as int64."""

    def where(self, condition: Any, one: Any, other: Any) -> Any:
        """Choose element by element."""

    def cast(self, array: Any, dtype: str) -> Any:
        """Return the array with another dtype."""

    def sort(self, array: Any) -> Any:
        """Return the last axis in rising order."""

    def true_rows(self, flags: Any) -> Any:
        """Return the indices at which flags ``[n]`` are true."""

    def stack(self, arrays: list[Any], axis: int) -> Any:
        """Join along a new axis."""


class NumpyArrays:
    """NumPy."""

    def array(self, values: Any, dtype: str = "int64") -> Any:  # noqa: D102 - see Arrays
        return np.asarray(values, dtype)

    def full(self, shape: tuple[int, ...], value: int, dtype: str = "int64") -> Any:  # noqa: D102
        return np.full(shape, value, dtype)

    def arange(self, stop: int) -> Any:  # noqa: D102
        return np.arange(stop)

    def where(self, condition: Any, one: Any, other: Any) -> Any:  # noqa: D102
        return np.where(condition, one, other)

    def cast(self, array: Any, dtype: str) -> Any:  # noqa: D102
        return array.astype(dtype)

    def sort(self, array: Any) -> Any:  # noqa: D102
        return np.sort(array, -1)

    def true_rows(self, flags: Any) -> Any:  # noqa: D102
        return np.flatnonzero(flags)

    def stack(self, arrays: list[Any], axis: int) -> Any:  # noqa: D102
        return np.stack(arrays, axis)


class TorchArrays:
    """Torch on one device.

    Args:
        id: Gymnasium id, for messages.
        device: Name of a torch device.

    Raises:
        ImportError: torch is not installed.
        ValueError: There is no such device here.
    """

    def __init__(self, id: str, device: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise ImportError(f"{id}: backends torch and triton need torch") from error
        try:
            self.device = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"{id}: device {device!r} is no torch device: {error}") from None
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"{id}: device {device!r} asked for, but torch sees no CUDA device")
        self._torch = torch

    def array(self, values: Any, dtype: str = "int64") -> Any:  # noqa: D102
        return self._torch.as_tensor(values, dtype=self._dtype(dtype), device=self.device)

    def full(self, shape: tuple[int, ...], value: int, dtype: str = "int64") -> Any:  # noqa: D102
        kind = self._dtype(dtype)
        return self._torch.full(shape, value, dtype=kind, device=self.device)

    def arange(self, stop: int) -> Any:  # noqa: D102
        return self._torch.arange(stop, device=self.device)

    def where(self, condition: Any, one: Any, other: Any) -> Any:  # noqa: D102
        return self._torch.where(condition, one, other)

    def cast(self, array: Any, dtype: str) -> Any:  # noqa: D102
        return array.to(self._dtype(dtype))

    def sort(self, array: Any) -> Any:  # noqa: D102
        return self._torch.sort(array, -1).values

    def true_rows(self, flags: Any) -> Any:  # noqa: D102
        return flags.nonzero().reshape(-1)

    def stack(self, arrays: list[Any], axis: int) -> Any:  # noqa: D102
        return self._torch.stack(arrays, axis)

    def _dtype(self, name: str) -> Any:
        return getattr(self._torch, name)
