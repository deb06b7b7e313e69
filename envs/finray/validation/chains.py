"""The chain without fluid: statics, its first frequency, and the energy that its stepping loses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.finray.chain import Chain, bending_hessian, bending_moments, make_chain, residuals
from envs.finray.numba_chain import body, vacuum_steps, work
from envs.finray.validation.report import Check, Result

FIRST = 1.8751040687119611
"""First root of cos x cosh x = -1: a clamped-free beam's wave number times its length."""


def beam(links: int, length: float, mass: float, stiffness: float) -> Chain:
    """Return a clamped chain on the origin."""
    return make_chain(
        links=links, length=length, base=(0.0, 0.0), mass=mass, stiffness=stiffness
    )  # fmt: skip


def tip_under_load(links: int, load: float) -> tuple[float, float]:
    """Return the tip's position (x, y) over the length, under a load ``P L^2 / EI`` along y."""
    chain = beam(links, 1.0, 1.0, 1.0)
    theta, rest = np.zeros((1, links)), np.zeros((1, links))
    # Newton's method from a smaller load to the next: a large one has other equilibria as well.
    for part in np.linspace(0, load, 1 + math.ceil(2 * load))[1:]:
        for _ in range(50):
            pull = part * chain.link * np.cos(theta)
            gap = bending_moments(np, chain.joint, residuals(np, theta, rest)) - pull
            slope = bending_hessian(chain.joint) + np.diag(part * chain.link * np.sin(theta[0]))
            theta = theta - np.linalg.solve(slope, gap[0])
            if np.abs(gap).max() < 1e-12:
                break
    x, y = chain.points(theta)[0, -1]
    return float(x), float(y)


def first_frequency(links: int, steps_per_period: int = 4000) -> float:
    """Return the first frequency of a plucked chain over that of the beam, from its motion."""
    chain, period = _with_period(links, steps_per_period)
    theta, omega = _pluck(chain), np.zeros(links)
    every = 10
    trace = np.zeros((3 * steps_per_period // every, links))
    scratch = work(1, 3, 1, links, np.float64)
    vacuum_steps(theta, omega, 3 * steps_per_period, body(chain), scratch, trace, every)
    tip = trace[:, -1]
    down = np.flatnonzero((tip[:-1] > 0) & (tip[1:] <= 0))
    exact = down + tip[down] / (tip[down] - tip[down + 1])
    return period / ((exact[-1] - exact[0]) / (len(exact) - 1) * every)


def energy_lost(links: int, steps_per_period: int, periods: int = 10) -> float:
    """Return the share of its energy that a plucked chain loses."""
    chain, _ = _with_period(links, steps_per_period)
    theta, omega, none = _pluck(chain), np.zeros(links), np.zeros((1, 1))
    start = float(chain.bending(theta[None], none)[0])
    steps = periods * steps_per_period
    scratch = work(1, 3, 1, links, np.float64)
    vacuum_steps(theta, omega, steps, body(chain), scratch, np.zeros((1, links)), steps)
    end = chain.bending(theta[None], none) + chain.kinetic(theta[None], omega[None])
    return 1 - float(end[0]) / start


def _with_period(links: int, steps: int) -> tuple[Chain, float]:
    """Return a chain of length and mass 1 whose first period is that many steps."""
    stiffness = (2 * math.pi / steps / FIRST**2) ** 2
    return beam(links, 1.0, 1.0, stiffness), float(steps)


def _pluck(chain: Chain) -> np.ndarray:
    """Return small angles of the chain's own first mode."""
    inertia, hessian = chain.inertia, bending_hessian(chain.joint)
    values, modes = np.linalg.eig(np.linalg.solve(inertia, hessian))
    mode = np.real(modes[:, np.argmin(np.real(values))])
    return 1e-3 * mode / mode[-1]


def chain_in_vacuum() -> Result:
    """Tip load, large deflection, first frequency and energy of the chain alone."""
    load = 1e-4
    small = tip_under_load(64, load)[1] / (load / 3)
    large = tip_under_load(64, 1.0)
    drift = energy_lost(8, 600_000)
    frequencies = {links: first_frequency(links) for links in (8, 16, 32)}
    checks = [
        Check("tip deflection over P L^3 / (3 EI), 64 links", small, 0.99, 1.01, "beam theory"),
        Check("tip height under P L^2 / EI = 1", large[1], 0.2987, 0.3047, "elastica: 0.3017"),
        Check("tip shortening under that load", 1 - large[0], 0.0558, 0.0570, "elastica: 0.0564"),
        Check("first frequency over the beam's, 32 links", frequencies[32], 0.99, 1.01, "theory"),
        Check("energy lost in 10 periods, 600,000 steps each", drift, 0.0, 1e-3, "bound asked for"),
    ]
    values = {"frequency ratio by links": {str(n): ratio for n, ratio in frequencies.items()}}
    return Result(
        "chain",
        {"mode": "first, plucked to 0.001", "periods": 10},
        checks,
        values,
        _curves,
    )


def _curves(figure: Any) -> None:
    loads = np.linspace(0, 10, 41)
    tips = np.array([tip_under_load(64, load) for load in loads])
    left, right = figure.subplots(1, 2)
    left.plot(loads, tips[:, 1], label="height, 64 links")
    left.plot(loads, 1 - tips[:, 0], label="shortening, 64 links")
    exact = np.array([[1, 0.3017, 0.0564], [2, 0.4935, 0.1606], [5, 0.7138, 0.3877]])
    left.plot(exact[:, 0], exact[:, 1], "kx", label="elastica")
    left.plot(exact[:, 0], exact[:, 2], "kx")
    left.set(xlabel="load P L^2 / EI", ylabel="tip, L")
    left.legend()
    links = [4, 8, 16, 32]
    right.plot(links, [first_frequency(n, 2000) for n in links], "o-")
    right.axhline(1.0, color="k", lw=0.8)
    right.set(xlabel="links", ylabel="first frequency over the beam's", xscale="log")
