"""The fluid on whole arrays: streaming, the sides of the domain, one step of time.

``xp`` is the module whose arrays come in: ``numpy`` (the reference) or ``torch`` (any device).
Populations are ``[n, 9, ny, nx]``, after collision; row ``y`` and column ``x`` lie at those
coordinates. The first and last column belong to the ends of the domain, not to the fluid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.finray.lattice import CX, CY, MIRROR, OPPOSITE, collide, equilibrium, relaxation_rate


@dataclass(frozen=True, eq=False)
class Fluid:
    """A domain and what flows in it.

    Attributes:
        nx: Columns, with the two at the ends.
        ny: Rows.
        viscosity: Kinematic viscosity, cells squared per step.
        inlet: ``[ny]``: speed of the inflow along x, and of the fluid at the beginning.
        walls: What the lower and upper sides are (:data:`envs.finray.lattice.WALLS`).
        ends: What the first and last columns are (:data:`envs.finray.lattice.ENDS`).
    """

    nx: int
    ny: int
    viscosity: float
    inlet: np.ndarray
    walls: str = "periodic"
    ends: str = "open"

    @property
    def omega(self) -> float:
        """Relaxation rate of the shear moments."""
        return relaxation_rate(self.viscosity)

    def uniform(self, n: int, dtype: Any = np.float64) -> np.ndarray:
        """Return populations of the inflow everywhere, ``[n, 9, ny, nx]``."""
        f = np.stack([np.broadcast_to(q, (self.ny,)) for q in equilibrium(1.0, self.inlet, 0.0)])
        return np.ascontiguousarray(
            np.broadcast_to(f[None, :, :, None], (n, 9, self.ny, self.nx)), dtype
        )


def stream(xp: Any, fluid: Fluid, f: Any) -> list[Any]:
    """Return the nine populations moved along their velocities, each ``[n, ny, nx]``."""
    moved = []
    for q in range(9):
        cx, cy = int(CX[q]), int(CY[q])
        population = xp.roll(f[:, q], (cy, cx), (1, 2))
        if fluid.walls != "periodic" and cy:
            row = 0 if cy == 1 else fluid.ny - 1
            if fluid.walls == "free_slip":
                population[:, row] = xp.roll(f[:, int(MIRROR[q]), row], cx, 1)
            else:
                population[:, row] = f[:, int(OPPOSITE[q]), row]
        moved.append(population)
    return moved


def close_ends(xp: Any, fluid: Fluid, f: Any, inlet: Any) -> None:
    """Write the first and last column of ``f``: inflow and outflow, or periodic copies."""
    if fluid.ends == "periodic":
        f[:, :, :, 0] = f[:, :, :, -2]
        f[:, :, :, -1] = f[:, :, :, 1]
        return
    rho = f[:, :, :, 1].sum(1)
    f[:, :, :, 0] = xp.stack(equilibrium(rho, inlet, 0.0), 1)
    f[:, :, :, -1] = f[:, :, :, -2]


def finish_step(
    xp: Any, fluid: Fluid, moved: list[Any], fx: Any, fy: Any, inlet: Any
) -> tuple[Any, Any]:
    """Collide streamed populations under a body force and close the ends.

    Returns:
        The populations ``[n, 9, ny, nx]`` and the largest speed of each row ``[n]``.
    """
    after, u, v = collide(moved, fx, fy, fluid.omega)
    f = xp.stack(after, 1)
    close_ends(xp, fluid, f, inlet)
    return f, xp.sqrt(xp.amax((u * u + v * v)[:, :, 1:-1], (1, 2)))
