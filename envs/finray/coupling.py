"""Chain and fluid advance together: one small linear solve a step, on whole arrays.

The markers exert on the fluid the force that leaves no slip between the two. Force and motion of
the chain are found at once, so the coupling is stable for a ray lighter than the water it moves
and needs no iteration (the stiff part, bending, is implicit). ``xp`` is ``numpy`` or ``torch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.finray.chain import bending_hessian, bending_moments, residuals

REGULARISATION = 0.05
"""Added to the diagonal of the markers' overlap: bounds the force where markers crowd."""


@dataclass(slots=True)
class Motion:
    """What one step of the chain gives, each with a leading axis ``[n]``.

    Attributes:
        theta: Angles after the step, ``[n, links]``.
        omega: Rates after the step, ``[n, links]``.
        force_x: Force of each marker on the fluid along x, ``[n, markers]``.
        force_y: The same along y.
        fluid_power: Power that the chain gives to the fluid.
        power: Power of the actuation.
        moment: Bending moment at the base.
    """

    theta: Any
    omega: Any
    force_x: Any
    force_y: Any
    fluid_power: Any
    power: Any
    moment: Any


def delta(xp: Any, position: Any, grid: Any) -> Any:
    """Return the three-point delta function of Roma, Peskin & Berger (1999).

    Args:
        xp: Array module.
        position: One coordinate of the markers, ``[n, markers]``.
        grid: The coordinates of the cells, ``[cells]``.

    Returns:
        Weights ``[n, markers, cells]``; each marker's sum to one.
    """
    distance = xp.abs(position[:, :, None] - grid)
    near = (1 + xp.sqrt(xp.clip(1 - 3 * distance**2, 0, None))) / 3
    far = (5 - 3 * distance - xp.sqrt(xp.clip(1 - 3 * (1 - distance) ** 2, 0, None))) / 6
    return xp.where(distance <= 0.5, near, xp.where(distance <= 1.5, far, 0.0 * distance))


def resistance(xp: Any, along_x: Any, along_y: Any, spacing: float) -> Any:
    """Return ``B``, ``[n, markers, markers]``: force on the fluid by slip velocity.

    A marker force ``F`` changes the velocity that the markers see by ``A F / (2 ds)`` where ``A``
    is the overlap of their delta functions times the spacing, so ``B = 2 ds (A + 0.05)^-1``.
    """
    overlap = (along_x @ along_x.swapaxes(1, 2)) * (along_y @ along_y.swapaxes(1, 2))
    unit = xp.eye(overlap.shape[1], dtype=overlap.dtype)
    if hasattr(overlap, "device") and xp.__name__ == "torch":
        unit = unit.to(overlap.device)
    inverse = xp.linalg.inv(spacing * overlap + REGULARISATION * unit)
    return spacing * (inverse + inverse.swapaxes(1, 2))


def move_chain(
    xp: Any, c: Any, theta: Any, omega: Any, rest: Any, before: Any, b: Any, u: Any, v: Any
) -> Motion:
    """Advance the chain by one step of time together with its force on the fluid.

    Args:
        xp: Array module.
        c: :class:`envs.finray.chain.Chain`, its arrays of this module.
        theta: Angles ``[n, links]``.
        omega: Rates ``[n, links]``.
        rest: Rest angles of the joints at the end of the step ``[n, links]``.
        before: Rest angles at its beginning.
        b: Resistance of the fluid ``[n, markers, markers]``.
        u: Velocity of the fluid at the markers without body force, along x, ``[n, markers]``.
        v: The same along y.
    """
    sin, cos = xp.sin(theta), xp.cos(theta)
    across = cos[:, :, None] * cos[:, None, :] + sin[:, :, None] * sin[:, None, :]
    along = sin[:, :, None] * cos[:, None, :] - cos[:, :, None] * sin[:, None, :]
    mass = c.inertia * across
    drag = xp.einsum("ki,nkl,lj->nij", c.arms, b, c.arms) * across
    bent = residuals(xp, theta, rest)
    right = (mass @ omega[:, :, None])[:, :, 0]
    right = right - ((c.inertia * along) @ (omega**2)[:, :, None])[:, :, 0]
    right = right - bending_moments(xp, c.joint, bent) - c.weight * sin
    right = right - sin * xp.einsum("ki,nkl,nl->ni", c.arms, b, u)
    right = right + cos * xp.einsum("ki,nkl,nl->ni", c.arms, b, v)
    omega = xp.linalg.solve(mass + c.hessian + drag, right[:, :, None])[:, :, 0]
    slip_x = (-sin * omega) @ c.arms.T
    slip_y = (cos * omega) @ c.arms.T
    force_x = xp.einsum("nkl,nl->nk", b, slip_x - u)
    force_y = xp.einsum("nkl,nl->nk", b, slip_y - v)
    theta = theta + omega
    now = residuals(xp, theta, rest)
    middle = 0.5 * (residuals(xp, theta - omega, before) + now)
    return Motion(
        theta,
        omega,
        force_x,
        force_y,
        fluid_power=(force_x * slip_x + force_y * slip_y).sum(1),
        power=-(c.joint * middle * (rest - before)).sum(1),
        moment=c.joint[0] * now[:, 0],
    )


def markers(xp: Any, c: Any, theta: Any) -> tuple[Any, Any]:
    """Return the coordinates of the markers, each ``[n, markers]``."""
    x = c.base[0] + xp.cos(theta) @ c.arms.T
    return x, c.base[1] + xp.sin(theta) @ c.arms.T


@dataclass(frozen=True, eq=False)
class ChainArrays:
    """The constants of a chain as arrays of one module, for the functions above."""

    base: tuple[float, float]
    spacing: float
    arms: Any
    inertia: Any
    joint: Any
    hessian: Any
    turn: Any
    weight: Any


def chain_arrays(chain: Any, convert: Any) -> ChainArrays:
    """Return the constants of ``chain``, each passed through ``convert``."""
    return ChainArrays(
        chain.base,
        chain.spacing,
        convert(chain.arms),
        convert(chain.inertia),
        convert(chain.joint),
        convert(bending_hessian(chain.joint)),
        convert(chain.turn),
        convert(chain.weight),
    )
