"""The ray as a chain of rigid links: geometry, inertia, bending and its own motion in vacuum.

Lattice units (cell, time step, fluid density 1). The chain has ``n`` links of one length at angles
``theta_i`` to the stream; it cannot stretch. A marker ``k`` on it sits at
``X_k = base + sum_i w_ki (cos theta_i, sin theta_i)``, so every matrix of the chain is a constant
one times ``cos(theta_i - theta_j)``: the constants are what :class:`Chain` holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPES = ("exponential", "uniform", "linear")
"""Distributions of the spontaneous curvature along the ray, each of mean 1."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Constants of a chain of links.

    Attributes:
        base: Position of the base, cells.
        link: Length of a link, cells.
        spacing: Distance of neighbouring markers along the chain, cells.
        arms: ``[markers, links]``: derivative of a marker's position by a link's direction.
        inertia: ``[links, links]``: mass matrix over ``cos(theta_i - theta_j)``.
        joint: ``[links]``: bending stiffness over length of the joint before each link.
        turn: ``[actions, links]``: rest angle of each joint for an action of 1.
        weight: ``[links]``: moment of gravity along x over ``-sin theta_i``.
    """

    base: tuple[float, float]
    link: float
    spacing: float
    arms: np.ndarray
    inertia: np.ndarray
    joint: np.ndarray
    turn: np.ndarray
    weight: np.ndarray

    @property
    def links(self) -> int:
        """How many links."""
        return len(self.joint)

    @property
    def length(self) -> float:
        """Length of the ray, cells."""
        return self.link * self.links

    def kinetic(self, theta: np.ndarray, omega: np.ndarray) -> np.ndarray:
        """Return the kinetic energy ``[n]`` of angles and rates ``[n, links]``."""
        mass = self.inertia * np.cos(theta[:, :, None] - theta[:, None, :])
        return 0.5 * np.einsum("ni,nij,nj->n", omega, mass, omega)

    def bending(self, theta: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Return the bending energy ``[n]`` at actuation ``a``, ``[n, actions]``."""
        return 0.5 * (self.joint * residuals(np, theta, a @ self.turn) ** 2).sum(1)

    def points(self, theta: np.ndarray) -> np.ndarray:
        """Return the ends of the links ``[n, links + 1, 2]``, base first."""
        steps = self.link * np.stack((np.cos(theta), np.sin(theta)), -1)
        start = np.zeros((len(theta), 1, 2))
        return np.concatenate((start, np.cumsum(steps, 1)), 1) + np.asarray(self.base)


def make_chain(
    *,
    links: int,
    length: float,
    base: tuple[float, float],
    mass: float,
    stiffness: float,
    shapes: tuple[str, ...] = ("exponential",),
    markers_per_link: int | None = None,
    pinned: bool = False,
    gravity: float = 0.0,
    end_mass: float = 0.0,
) -> Chain:
    """Return the constants of a chain.

    Args:
        links: How many links.
        length: Length of the ray, cells.
        base: Position of its base, cells.
        mass: Mass per length.
        stiffness: Bending stiffness EI.
        shapes: Names out of :data:`SHAPES`, one for each action.
        markers_per_link: Default: as many as make the spacing closest to one cell.
        pinned: Whether the base may turn freely; otherwise it is clamped along x.
        gravity: Acceleration along x.
        end_mass: Point mass at the tip.
    """
    link = length / links
    count = max(1, round(link)) if markers_per_link is None else markers_per_link
    spacing = link / count
    arms = np.zeros((links * count, links))
    for marker in range(links * count):
        arms[marker, : marker // count] = link
        arms[marker, marker // count] = (marker % count + 0.5) * spacing
    heights = np.full(links, link)
    heights[0] = link / 2  # from the clamp to the middle of the first link
    joint = stiffness / heights
    if pinned:
        joint[0] = 0.0
    masses = np.full(len(arms), mass * spacing)
    inertia = (arms * masses[:, None]).T @ arms + end_mass * link**2
    return Chain(
        base=base,
        link=link,
        spacing=spacing,
        arms=arms,
        inertia=inertia,
        joint=joint,
        turn=np.stack([_turn(shape, heights, length) for shape in shapes]),
        weight=gravity * (masses @ arms + end_mass * link),
    )


def _turn(shape: str, heights: np.ndarray, length: float) -> np.ndarray:
    """Return the rest angles of the joints for a spontaneous curvature of 1 over the length.

    The mean over the joints is 1, so that shapes are compared at one mean curvature.
    """
    s = np.arange(len(heights)) / len(heights)
    density = {"exponential": np.exp(-s / 0.4), "uniform": np.ones(len(s)), "linear": 1 - s}[shape]
    return density / density.mean() * heights / length


def residuals(xp: Any, theta: Any, rest: Any) -> Any:
    """Return how far each joint is bent from its rest angle, ``[n, links]``."""
    first = theta[:, :1] - rest[:, :1]
    return xp.concatenate((first, theta[:, 1:] - theta[:, :-1] - rest[:, 1:]), 1)


def bending_moments(xp: Any, joint: Any, bent: Any) -> Any:
    """Return the gradient of the bending energy by the angles, ``[n, links]``."""
    moment = joint * bent
    return xp.concatenate((moment[:, :-1] - moment[:, 1:], moment[:, -1:]), 1)


def bending_hessian(joint: np.ndarray) -> np.ndarray:
    """Return the second derivative of the bending energy by the angles, ``[links, links]``."""
    after = np.append(joint[1:], 0.0)
    return np.diag(joint + after) - np.diag(joint[1:], 1) - np.diag(joint[1:], -1)


def rest_moments(chain: Chain) -> np.ndarray:
    """Return the moments on the links that an actuation of 1 makes, ``[actions, links]``."""
    moment = chain.joint * chain.turn
    return moment - np.append(moment[:, 1:], np.zeros((len(moment), 1)), 1)
