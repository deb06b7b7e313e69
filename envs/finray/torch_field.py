"""Populations that stay on a device while the environment handles them as one of its arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


class DeviceField:
    """A torch tensor with the few array methods that an environment's state needs.

    Rows are read and written by index arrays; ``copy`` stays on the device; NumPy gets a copy on
    the host. It pickles as a NumPy array, so a saved state opens on any machine.

    Args:
        tensor: Populations ``[n, 9, ny, nx]``.
    """

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers, as NumPy names it."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        return len(self.tensor)

    def copy(self) -> DeviceField:
        """Return a copy on the same device."""
        return DeviceField(self.tensor.clone())

    def __getitem__(self, rows: Any) -> DeviceField:
        return DeviceField(self.tensor[_index(rows)])

    def __setitem__(self, rows: Any, values: Any) -> None:
        import torch

        given = values.tensor if isinstance(values, DeviceField) else torch.from_numpy(values)
        self.tensor[_index(rows)] = given.to(self.tensor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host: np.ndarray = np.array(self.tensor.cpu().numpy(), dtype)
        return host

    def __reduce__(self) -> tuple[Any, ...]:
        return np.array, (np.asarray(self),)


def _index(rows: Any) -> Any:
    """Return an index that torch takes: it knows no NumPy index arrays on other devices."""
    if isinstance(rows, tuple):
        return tuple(_index(part) for part in rows)
    return rows.tolist() if isinstance(rows, np.ndarray) else rows
