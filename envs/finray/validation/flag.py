"""The flapping flag of Huang, Shin & Sung (2007): a pinned filament in a stream with gravity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.finray.chain import make_chain
from envs.finray.engine import make_engine
from envs.finray.fluid import Fluid
from envs.finray.validation.report import Check, Result


def flap(
    cells: int, times: float, u: float = 0.025, domain: tuple[float, float] = (8.0, 4.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return times (L/U) and heights (L) of the tip of the flag at Re 200.

    Mass ratio 1.5, bending 0.0015, Froude number g L / U^2 0.5, start at an angle of 0.1 pi.

    Args:
        cells: Along the flag.
        times: Duration, L/U.
        u: Speed of the stream, cells per step.
        domain: Length and height, L.
    """
    nx, ny = round(domain[0] * cells), round(domain[1] * cells)
    fluid = Fluid(nx, ny, u * cells / 200, np.full(ny, u))
    chain = make_chain(
        links=16,
        length=cells,
        base=(2.0 * cells, ny / 2 + 0.37),
        mass=1.5 * cells,
        stiffness=0.0015 * u**2 * cells**3,
        pinned=True,
        gravity=0.5 * u**2 / cells,
    )
    engine = make_engine("numba", fluid, chain)
    f, none = engine.uniform(1), np.zeros((1, 1))
    theta, omega = np.full((1, 16), 0.1 * math.pi), np.zeros((1, 16))
    steps = round(0.02 * cells / u)
    heights = []
    for _ in range(round(times * cells / u / steps)):
        after = engine.advance(f, theta, omega, none, none, steps)
        f, theta, omega = after.f, after.theta, after.omega
        heights.append(float(np.sin(theta[0]).sum() * chain.link / cells))
    return (np.arange(len(heights)) + 1) * steps * u / cells, np.array(heights)


def amplitude_and_frequency(time: np.ndarray, height: np.ndarray) -> tuple[float, float]:
    """Return half the excursion and the frequency (U/L) over the last third."""
    tail = slice(-(len(time) // 3), None)
    t, y = time[tail], height[tail] - height[tail].mean()
    up = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    exact = t[up] - y[up] / (y[up + 1] - y[up]) * (t[1] - t[0])
    return float(0.5 * np.ptp(y)), float((len(up) - 1) / (exact[-1] - exact[0]))


def flag(sizes: tuple[int, ...] = (32, 48), times: float = 36.0) -> Result:
    """The flag's amplitude and Strouhal number at two resolutions."""
    runs = {cells: flap(cells, times) for cells in sizes}
    found = {cells: amplitude_and_frequency(*run) for cells, run in runs.items()}
    pilot = {32: (0.380, 0.310), 48: (0.389, 0.313)}
    checks = []
    for cells, (amplitude, frequency) in found.items():
        wanted, strouhal = pilot[cells]
        name = f"L = {cells} cells"
        checks += [
            Check(f"amplitude, {name}", amplitude, 0.94 * wanted, 1.06 * wanted, "pilot +- 6 %"),
            Check(f"Strouhal, {name}", frequency, 0.96 * strouhal, 1.04 * strouhal, "pilot +- 4 %"),
        ]
    setting = {"re": 200, "mass_ratio": 1.5, "stiffness": 0.0015, "froude": 0.5, "u": 0.025}
    return Result(
        "flag",
        setting | {"domain": "8 L x 4 L, periodic sides", "time": times},
        checks,
        {"published": "amplitude 0.35-0.38, Strouhal 0.30-0.31"},
        lambda figure: _plot(figure, runs),
    )


def _plot(figure: Any, runs: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    axes = figure.subplots()
    for cells, (time, height) in runs.items():
        axes.plot(time, height, label=f"L = {cells} cells")
    axes.set(xlabel="time, L/U", ylabel="height of the tip, L")
    axes.legend()
