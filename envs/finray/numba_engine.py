"""The CPU engine: kernels of numba, one environment after another or on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from envs.finray.chain import Chain
from envs.finray.coupling import REGULARISATION
from envs.finray.engine import HARD_MACH_LIMIT, SUMS, Interval
from envs.finray.fluid import Fluid
from envs.finray.numba_chain import advance, body, flow, work


class NumbaEngine:
    """Advances fluid and ray with kernels compiled for the CPU.

    Args:
        fluid: Domain and flow.
        chain: The ray.
        dtype: Of the populations; the chain is always in float64.
        device: Must be ``cpu``.
        threads: How many environments are advanced at a time.
    """

    def __init__(
        self,
        fluid: Fluid,
        chain: Chain,
        dtype: str = "float64",
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        if device != "cpu":
            raise ValueError(f"backend numba runs on the cpu, got device {device!r}")
        self.fluid, self.dtype, self.threads = fluid, np.dtype(dtype), threads
        self._body, self._flow = body(chain), flow(fluid, self.dtype)

    def uniform(self, n: int) -> np.ndarray:
        """Return the populations of an undisturbed stream."""
        return self.fluid.uniform(n, self.dtype)

    def repeat(self, f: np.ndarray, n: int) -> np.ndarray:
        """Return ``n`` copies of one row of populations."""
        return np.repeat(f, n, 0)

    def sample(self, f: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the populations of some cells, ``[n, 9, cells]``."""
        return f[:, :, rows, columns]

    def advance(
        self,
        f: np.ndarray,
        theta: np.ndarray,
        omega: np.ndarray,
        a0: np.ndarray,
        a1: np.ndarray,
        steps: int,
    ) -> Interval:
        """Advance by ``steps`` steps while the actuation goes linearly from ``a0`` to ``a1``."""
        n = len(theta)
        f = np.ascontiguousarray(f, self.dtype)
        theta, omega = theta.astype(np.float64), omega.astype(np.float64)
        a0, a1 = np.ascontiguousarray(a0, np.float64), np.ascontiguousarray(a1, np.float64)
        sums, results = np.zeros((n, len(SUMS))), np.zeros((n, 4))

        def row(k: int) -> None:
            other = np.empty_like(f[k])
            scratch = work(self.fluid.ny, self.fluid.nx, *self._body.arms.shape, self.dtype)
            results[k] = advance(
                f[k], other, theta[k], omega[k], a0[k], a1[k], steps, self._body, self._flow,
                scratch, REGULARISATION, HARD_MACH_LIMIT, sums[k],
            )  # fmt: skip
            if results[k, 0] % 2:
                f[k] = other

        if self.threads > 1 and n > 1:
            with ThreadPoolExecutor(min(self.threads, n)) as pool:
                list(pool.map(row, range(n)))
        else:
            for k in range(n):
                row(k)
        done, top, tip, diverged = results.T
        a = a0 + (a1 - a0) * (done / steps)[:, None]
        means = (sums / done[:, None]).T
        return Interval(f, theta, omega, a, done, *means, top, tip, diverged > 0)
