"""The GPU engine: two Triton kernels a step, hundreds of environments at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from envs.finray.chain import Chain, bending_hessian, rest_moments
from envs.finray.coupling import REGULARISATION
from envs.finray.engine import HARD_MACH_LIMIT, SUMS, Interval
from envs.finray.fluid import Fluid
from envs.finray.patch import patch_box
from envs.finray.torch_engine import find_device
from envs.finray.torch_field import DeviceField
from envs.finray.triton_kernels import chain_kernel, fluid_kernel


class TritonEngine:
    """Advances fluid and ray on an NVIDIA GPU; the populations stay there.

    Args:
        fluid: Domain and flow; its ends must be open and its walls periodic or free-slip.
        chain: The ray.
        dtype: Of the populations; the chain is always in float64.
        device: Name of a CUDA device. (The processor serves under Triton's interpreter only.)
        block: Cells that a program of the fluid kernel advances.
        warps: Warps of a program of the fluid kernel.

    Raises:
        ValueError: The device is not there.
    """

    def __init__(
        self,
        fluid: Fluid,
        chain: Chain,
        dtype: str = "float32",
        device: str = "cuda",
        block: int = 256,
        warps: int = 4,
    ) -> None:
        self.fluid, self.chain = fluid, chain
        self._device = find_device("triton", device)
        self._dtype = getattr(torch, dtype)
        self._block, self._warps = block, warps
        self._constants = [
            self._double(array)
            for array in (
                chain.arms,
                chain.inertia,
                bending_hessian(chain.joint),
                chain.turn,
                chain.joint,
                rest_moments(chain),
                chain.weight,
            )
        ]
        # Passed as an array: Triton takes a Python number as float32.
        numbers = (1.0 - fluid.omega, *chain.base, chain.spacing, chain.link)
        self._scalars = self._double([*numbers, REGULARISATION, HARD_MACH_LIMIT])
        self._inlet = torch.as_tensor(fluid.inlet, dtype=self._dtype, device=self._device)
        self._patch_box = patch_box(fluid, chain)

    def _double(self, array: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(array), dtype=torch.float64, device=self._device)

    def _on_device(self, f: Any) -> torch.Tensor:
        tensor = f.tensor if isinstance(f, DeviceField) else torch.as_tensor(np.asarray(f))
        return tensor.to(device=self._device, dtype=self._dtype).contiguous()

    def uniform(self, n: int) -> DeviceField:
        """Return the populations of an undisturbed stream."""
        return self.repeat(self.fluid.uniform(1), n)

    def repeat(self, f: np.ndarray, n: int) -> DeviceField:
        """Return ``n`` copies of one row of populations."""
        return DeviceField(self._on_device(f).repeat(n, 1, 1, 1))

    def sample(self, f: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the populations of some cells, ``[n, 9, cells]``."""
        cells = self._on_device(f)[:, :, rows.tolist(), columns.tolist()]
        return np.asarray(cells.cpu().numpy(), np.float64)

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
        now = self._on_device(f)
        if isinstance(f, DeviceField) and now is f.tensor and steps > 1:
            now = now.clone()  # the second buffer is written to, the caller's must not be
        run = Run(self, len(theta), theta, omega, a0, a1)
        after = torch.empty_like(now)
        for _ in range(steps):
            run.chain_step(now, steps)
            run.fluid_step(now, after)
            now, after = after, now
        return run.finish(now, a0, a1, steps)


class Run:
    """The arrays of one control interval on the device, and the launches that advance them."""

    def __init__(
        self, engine: TritonEngine, n: int, theta: Any, omega: Any, a0: Any, a1: Any
    ) -> None:
        self._engine, self._n = engine, n
        fluid, (left, low, width, height) = engine.fluid, engine._patch_box
        device = engine._device
        self.theta, self.omega = engine._double(theta), engine._double(omega)
        self._a0, self._a1 = engine._double(a0), engine._double(a1)
        self.live = torch.ones(n, dtype=torch.int32, device=device)
        self.done = torch.zeros(n, dtype=torch.int32, device=device)
        self.top = torch.zeros(n, dtype=torch.float32, device=device)
        self.fastest, self.tip = engine._double(np.zeros((2, n)))
        self.sums = engine._double(np.zeros((n, len(SUMS))))
        self._patch = torch.zeros((n, 2, height, width), dtype=torch.int64, device=device)
        self._sizes = {
            "NX": fluid.nx, "NY": fluid.ny, "PX": left, "PY": low, "PW": width, "PH": height,
        }  # fmt: skip
        markers, links = engine.chain.arms.shape
        self._chain_sizes = {
            "LINKS": links,
            "MARKERS": markers,
            "ACTIONS": len(engine.chain.turn),
            "N": _power_of_two(links),
            "M": _power_of_two(markers),
            "R": _power_of_two(links + 2),
        }

    def chain_step(self, f: torch.Tensor, steps: int) -> None:
        """Turn the links and leave their forces in the patch."""
        chain_kernel[(self._n,)](
            f, self._patch, self.theta, self.omega, self._a0, self._a1, self.live, self.top,
            self.done, self.fastest, self.tip, self.sums, *self._engine._constants,
            self._engine._scalars, steps, **self._sizes, **self._chain_sizes,
            num_warps=4,
        )  # fmt: skip

    def fluid_step(self, f: torch.Tensor, g: torch.Tensor) -> None:
        """Write into ``g`` the populations one step after ``f``."""
        fluid, block = self._engine.fluid, self._engine._block
        grid = (-(-fluid.nx * fluid.ny // block), self._n)
        fluid_kernel[grid](
            f, g, self._patch, self._engine._inlet, self.live, self.top,
            self._engine._scalars,
            **self._sizes, PERIODIC=fluid.walls == "periodic", BLOCK=block,
            num_warps=self._engine._warps,
        )  # fmt: skip

    def finish(self, f: torch.Tensor, a0: np.ndarray, a1: np.ndarray, steps: int) -> Interval:
        """Return what the interval gave."""
        last = self.top.double().sqrt().cpu().numpy()
        fastest = np.maximum(self.fastest.cpu().numpy(), last)
        fine = (self.live.cpu().numpy() != 0) & (last <= HARD_MACH_LIMIT)
        theta, omega, tip = (x.cpu().numpy() for x in (self.theta, self.omega, self.tip))
        fine &= np.isfinite(theta).all(1)
        done = self.done.cpu().numpy().astype(np.float64)
        means = (self.sums.cpu().numpy() / done[:, None]).T
        a = a0 + (a1 - a0) * (done / steps)[:, None]
        return Interval(DeviceField(f), theta, omega, a, done, *means, fastest, tip, ~fine)


def _power_of_two(n: int) -> int:
    return max(16, 1 << (n - 1).bit_length())
