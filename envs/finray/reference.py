"""The reference engine: whole arrays, one formula a line; slow, and what fast ones must equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.finray.chain import Chain
from envs.finray.coupling import (
    chain_arrays,
    delta,
    markers,
    move_chain,
    resistance,
)
from envs.finray.engine import HARD_MACH_LIMIT, SUMS, Interval
from envs.finray.fluid import Fluid, finish_step, stream
from envs.finray.lattice import density_and_momentum


class ReferenceEngine:
    """Advances fluid and ray with NumPy, or with torch in a subclass.

    Args:
        fluid: Domain and flow.
        chain: The ray.
        dtype: Of the populations; the chain is always in float64.
        device: Must be ``cpu``.
    """

    xp: Any = np

    def __init__(self, fluid: Fluid, chain: Chain, dtype: str = "float64", device: str = "cpu"):
        if device != "cpu":
            raise ValueError(f"backend reference runs on the cpu, got device {device!r}")
        self.fluid, self.dtype = fluid, dtype
        self._chain = chain_arrays(chain, self._double)
        self._columns = self._double(np.arange(fluid.nx))
        self._rows = self._double(np.arange(fluid.ny))
        self._inlet = self._field(fluid.inlet)

    def _double(self, array: Any) -> Any:
        return np.array(array, np.float64)

    def _field(self, array: Any) -> Any:
        return np.array(array, self.dtype)

    def _host(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def uniform(self, n: int) -> Any:
        """Return the populations of an undisturbed stream."""
        return self._field(self.fluid.uniform(n))

    def repeat(self, f: np.ndarray, n: int) -> Any:
        """Return ``n`` copies of one row of populations."""
        return self._field(np.repeat(f, n, 0))

    def sample(self, f: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the populations of some cells, ``[n, 9, cells]``."""
        return self._host(f[:, :, rows, columns])

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
        xp, n = self.xp, len(theta)
        f = self._field(f)
        theta, omega = self._double(theta), self._double(omega)
        first, change = self._double(a0), self._double(a1 - a0) / steps
        live, done = self._double(np.ones(n)) > 0, self._double(np.zeros(n))
        sums = self._double(np.zeros((len(SUMS), n)))
        fastest, tip = 0 * done, 0 * done
        for s in range(steps):
            rest = [(first + change * (s + k)) @ self._chain.turn for k in (1, 0)]
            new, motion, speed = self._step(f, theta, omega, *rest)
            f = xp.where(live[:, None, None, None], new, f)
            theta = xp.where(live[:, None], motion.theta, theta)
            omega = xp.where(live[:, None], motion.omega, omega)
            sums = sums + xp.where(live, _terms(xp, motion), 0 * sums)
            done = done + xp.where(live, 1 + 0 * done, 0 * done)
            fastest = xp.where(live, xp.maximum(fastest, speed), fastest)
            height = xp.abs(xp.sin(theta).sum(1)) * self._chain.spacing * self._per_link
            tip = xp.where(live, xp.maximum(tip, height), tip)
            live = live & (speed <= HARD_MACH_LIMIT)
        a = first + change * done[:, None]
        means = self._host(sums / done)
        return Interval(
            f,
            *(self._host(array) for array in (theta, omega, a, done)),
            *means,
            self._host(fastest),
            self._host(tip),
            ~self._host(live),
        )

    @property
    def _per_link(self) -> int:
        return int(self._chain.arms.shape[0] // self._chain.arms.shape[1])

    def _step(self, f: Any, theta: Any, omega: Any, rest: Any, before: Any) -> tuple[Any, Any, Any]:
        xp, c = self.xp, self._chain
        moved = stream(xp, self.fluid, f)
        rho, jx, jy = density_and_momentum(moved)
        x, y = markers(xp, c, theta)
        along_x, along_y = delta(xp, x, self._columns), self._along_y(y)
        fluid_u, fluid_v = self._double(jx / rho), self._double(jy / rho)
        u = ((along_y @ fluid_u) * along_x).sum(2)
        v = ((along_y @ fluid_v) * along_x).sum(2)
        b = resistance(xp, along_x, along_y, c.spacing)
        motion = move_chain(xp, c, theta, omega, rest, before, b, u, v)
        fx = self._field(along_y.swapaxes(1, 2) @ (motion.force_x[:, :, None] * along_x))
        fy = self._field(along_y.swapaxes(1, 2) @ (motion.force_y[:, :, None] * along_x))
        new, speed = finish_step(xp, self.fluid, moved, fx, fy, self._inlet)
        return new, motion, self._double(speed)

    def _along_y(self, y: Any) -> Any:
        """Return the weights along y; in a periodic domain a marker reaches across the seam."""
        weights = delta(self.xp, y, self._rows)
        if self.fluid.walls == "periodic":
            for shift in (-self.fluid.ny, self.fluid.ny):
                weights = weights + delta(self.xp, y, self._rows + shift)
        return weights


def _terms(xp: Any, motion: Any) -> Any:
    positive = xp.clip(motion.power, 0, None)
    return xp.stack(
        (
            motion.force_x.sum(1),
            motion.force_y.sum(1),
            motion.power,
            positive,
            motion.fluid_power,
            motion.moment,
        ),
        0,
    )
