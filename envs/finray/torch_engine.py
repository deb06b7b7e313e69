"""The reference on torch tensors: for devices without Triton, and to test what runs on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from envs.finray.chain import Chain
from envs.finray.engine import Interval
from envs.finray.fluid import Fluid
from envs.finray.reference import ReferenceEngine
from envs.finray.torch_field import DeviceField


class TorchEngine(ReferenceEngine):
    """Advances fluid and ray with torch; the populations stay on the device.

    Args:
        fluid: Domain and flow.
        chain: The ray.
        dtype: Of the populations; the chain is always in float64.
        device: Name of a torch device.

    Raises:
        ValueError: The device is not there.
    """

    xp = torch

    def __init__(
        self, fluid: Fluid, chain: Chain, dtype: str = "float64", device: str = "cpu"
    ) -> None:
        self._device = find_device("torch", device)
        self._torch_dtype = getattr(torch, dtype)
        super().__init__(fluid, chain, dtype, "cpu")

    def _double(self, array: Any) -> Any:
        return torch.as_tensor(array, dtype=torch.float64, device=self._device)

    def _field(self, array: Any) -> Any:
        if isinstance(array, DeviceField):
            array = array.tensor
        return torch.as_tensor(array, dtype=self._torch_dtype, device=self._device)

    def _host(self, array: Any) -> np.ndarray:
        return np.asarray(array.cpu().numpy())

    def uniform(self, n: int) -> DeviceField:
        """Return the populations of an undisturbed stream."""
        return DeviceField(super().uniform(n))

    def repeat(self, f: np.ndarray, n: int) -> DeviceField:
        """Return ``n`` copies of one row of populations."""
        return DeviceField(self._field(f).repeat(n, 1, 1, 1))

    def sample(self, f: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the populations of some cells, ``[n, 9, cells]``."""
        return self._host(self._field(f)[:, :, rows.tolist(), columns.tolist()])

    def advance(
        self,
        f: Any,
        theta: np.ndarray,
        omega: np.ndarray,
        a0: np.ndarray,
        a1: np.ndarray,
        steps: int,
    ) -> Interval:
        """Advance by ``steps`` steps while the actuation goes linearly from ``a0`` to ``a1``."""
        with torch.no_grad():
            after = super().advance(f, theta, omega, a0, a1, steps)
        after.f = DeviceField(after.f)
        return after


def find_device(backend: str, name: str) -> torch.device:
    """Return the torch device of that name.

    Raises:
        ValueError: There is no such device here.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"backend {backend}: no device {name!r}: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"backend {backend}: device {name!r} asked for, but torch sees no CUDA device; "
            "backend='numba', device='cpu' computes on the processor"
        )
    return device
