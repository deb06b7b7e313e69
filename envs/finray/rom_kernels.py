"""The reduced-order ray: a chain of links in a load that has no flow field.

Units of the stream (L, U and rho are 1). Per length, a link that moves relative to the stream with
the velocity ``w`` across and ``u`` along itself feels

* the reactive force of elongated-body theory at large amplitude (Lighthill 1971): fluid of mass
  ``m_a`` moves across with the ray, is carried down it and leaves at the tip;
* a quasi-steady drag ``C_n |w| w / 2`` across and ``C_t |u| u / 2`` along.

Bending, the added mass and the drag across are implicit, the rest is explicit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.finray.chain import Chain, bending_hessian, bending_moments, residuals


class Load(NamedTuple):
    """Constants of the chain and its load.

    Attributes:
        middle: ``[links, links]``: derivative of the middle of a link by a link's direction.
        inertia: Mass matrix of the chain over ``cos(theta_i - theta_j)``.
        joint: Stiffness of the joints.
        hessian: Second derivative of the bending energy.
        turn: Rest angles of the joints for each action.
        link: Length of a link.
        added: Added mass per length.
        normal: Coefficient of the drag across.
        tangent: Coefficient of the drag along.
        dt: Time step.
    """

    middle: np.ndarray
    inertia: np.ndarray
    joint: np.ndarray
    hessian: np.ndarray
    turn: np.ndarray
    link: float
    added: float
    normal: float
    tangent: float
    dt: float


def make_load(chain: Chain, added: float, normal: float, tangent: float, dt: float) -> Load:
    """Return the constants of a chain of length 1 and its load."""
    n = chain.links
    middle = chain.link * (np.tril(np.ones((n, n)), -1) + 0.5 * np.eye(n))
    arrays = (middle, chain.inertia, chain.joint, bending_hessian(chain.joint), chain.turn)
    arrays = tuple(np.ascontiguousarray(array, np.float64) for array in arrays)
    return Load(*arrays, chain.link, added, normal, tangent, dt)


def reference_steps(
    load: Load, theta: np.ndarray, omega: np.ndarray, a0: np.ndarray, a1: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advance ``n`` rays by ``steps`` steps, on whole arrays.

    Returns:
        Angles and rates ``[n, links]``, and the mean over the steps of force on the fluid along x
        and y, power, its positive part, power to the fluid and base moment, then the largest
        excursion of the tip: ``[n, 7]``.
    """
    sums = np.zeros((len(theta), 7))
    for s in range(steps):
        before = (a0 + (a1 - a0) * (s / steps)) @ load.turn
        rest = (a0 + (a1 - a0) * ((s + 1) / steps)) @ load.turn
        new, force = _reference_step(load, theta, omega, rest)
        moved = theta + load.dt * new
        middle = 0.5 * (residuals(np, theta, before) + residuals(np, moved, rest))
        power = -(load.joint * middle * (rest - before)).sum(1) / load.dt
        theta, omega = moved, new
        sums[:, 0] += force[0]
        sums[:, 1] += force[1]
        sums[:, 2] += power
        sums[:, 3] += np.maximum(power, 0)
        sums[:, 4] += force[2]
        sums[:, 5] += load.joint[0] * residuals(np, theta, rest)[:, 0]
        sums[:, 6] = np.maximum(sums[:, 6], np.abs(np.sin(theta).sum(1)) * load.link)
    sums[:, :6] /= steps
    return theta, omega, sums


def _reference_step(
    load: Load, theta: np.ndarray, omega: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the rates after a step and the force on the fluid along x, along y, and its power."""
    sin, cos = np.sin(theta), np.cos(theta)
    across = np.cos(theta[:, :, None] - theta[:, None, :])
    along = np.sin(theta[:, :, None] - theta[:, None, :])
    lever = load.middle * across  # how fast a link moves across itself as a link turns
    slide = load.middle * along  # and along itself
    w = (lever @ omega[:, :, None])[:, :, 0] + sin
    u = (slide @ omega[:, :, None])[:, :, 0] - cos
    # Forces per link that do not depend on the new rates, across (n) and along (t).
    turning = (slide * (omega[:, :, None] - omega[:, None, :])) @ omega[:, :, None]
    change = -turning[:, :, 0] + cos * omega
    into_n, into_t = load.added * u * w, -0.5 * load.added * w * w
    flux_x = -into_n * sin + into_t * cos
    flux_y = into_n * cos + into_t * sin
    net_x = np.diff(flux_x, axis=1, prepend=0.0)
    net_y = np.diff(flux_y, axis=1, prepend=0.0)
    mass, damp = load.added * load.link, 0.5 * load.normal * load.link * np.abs(w)
    force_n = -mass * change - damp * sin - net_x * sin + net_y * cos
    force_t = mass * w * omega + net_x * cos + net_y * sin
    force_t = force_t - 0.5 * load.tangent * load.link * np.abs(u) * u
    weight = mass + damp * load.dt
    own = load.inertia * across
    reactive = np.einsum("nki,nk,nkj->nij", lever, weight, lever)
    right = (own @ omega[:, :, None])[:, :, 0]
    right = right - load.dt * ((load.inertia * along) @ (omega**2)[:, :, None])[:, :, 0]
    right = right + mass * np.einsum("nki,nkj,nj->ni", lever, lever, omega)
    bend = bending_moments(np, load.joint, residuals(np, theta, rest))
    loads = np.einsum("nki,nk->ni", lever, force_n) + np.einsum("nki,nk->ni", slide, force_t)
    # ``slide`` is a link's motion along itself as another turns: the same sines, other index.
    right = right + load.dt * (loads - bend)
    left = own + load.dt**2 * load.hessian + reactive
    new = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    speed = (lever @ new[:, :, None])[:, :, 0]
    drift = (slide @ new[:, :, None])[:, :, 0]
    inertial = (lever @ (new - omega)[:, :, None])[:, :, 0] / load.dt
    force_n = force_n - mass * inertial - damp * speed
    on_fluid_x = (force_n * sin - force_t * cos).sum(1)
    on_fluid_y = -(force_n * cos + force_t * sin).sum(1)
    return new, (on_fluid_x, on_fluid_y, -(force_n * speed + force_t * drift).sum(1))
