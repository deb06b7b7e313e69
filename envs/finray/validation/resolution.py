"""What the grid changes: the drag of a straight ray, and the actuated ray at three sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.finray.policies import BEST_SINE, sine
from envs.finray.validation.coupled import play, summary
from envs.finray.validation.report import Check, Result

SIZES = (16, 32, 64)


def plate() -> Result:
    """The unactuated ray is a plate: its drag falls toward the correlation as cells shrink."""
    exact = 2 * (1.328 / math.sqrt(500) + 4.12 / 500)
    drags = [
        -summary(play(lambda t: 0.0, 120, cells_per_length=cells, u_lattice=0.025))["thrust"]
        for cells in SIZES
    ]
    checks = [
        Check("drag, L = 64 cells, over the correlation", drags[-1] / exact, 1.0, 1.3, "laminar"),
        Check("fall of the drag, 16 to 32 cells", drags[0] - drags[1], 0.0, 0.1, "order"),
        Check("fall of the drag, 32 to 64 cells", drags[1] - drags[2], 0.0, 0.1, "order"),
    ]

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(1 / np.array(SIZES), drags, "o-", label="computed")
        axes.axhline(exact, color="k", ls="--", label="2 (1.328 / sqrt(Re) + 4.12 / Re)")
        axes.set(xlabel="cell size, L", ylabel="drag coefficient", xlim=(0, None), ylim=(0, None))
        axes.legend()

    setting = {"re": 500, "cells": SIZES, "domain": "6 L x 4 L", "u_lattice": 0.025}
    return Result("plate", setting, checks, {"drag": drags, "correlation": exact}, plot)


def actuated() -> Result:
    """Re 1000, sine at f 1.6: thrust and power on a finer grid and in a larger domain.

    In a stream of 0.025 cells per step the tip would pass the hard Mach limit.
    """
    runs: dict[str, dict[str, Any]] = {
        "L = 32": {"cells_per_length": 32},
        "L = 32, 8 L x 6 L": {"cells_per_length": 32, "domain": (8.0, 6.0)},
        "L = 48": {"cells_per_length": 48},
    }
    series = {
        name: play(lambda t: sine(t, BEST_SINE), re=1000.0, u_lattice=0.0125, **options)
        for name, options in runs.items()
    }
    table = {name: summary(one) for name, one in series.items()}
    pilot = {
        "L = 32": (1.35, 17.2),
        "L = 32, 8 L x 6 L": (1.27, 16.7),
        "L = 48": (1.325, 15.9),
    }
    checks = []
    for name, (thrust, power) in pilot.items():
        for what, value in (("thrust", thrust), ("power", power)):
            low, high = 0.85 * value, 1.15 * value
            checks.append(Check(f"{what}, {name}", table[name][what], low, high, "pilot +- 15 %"))
        steps = len(series[name]["time"])
        checks.append(Check(f"control steps before a limit, {name}", steps, 200, 200, "all"))

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        for name, one in series.items():
            axes.plot(one["time"][:, 0], one["tip_height"][:, 0], label=name, lw=0.9)
        axes.set(xlabel="time, L/U", ylabel="mean sine of the angles (tip height, L)")
        axes.legend(ncols=3)

    setting = {"re": 1000, "policy": f"sine {BEST_SINE}", "u_lattice": 0.0125}
    return Result("actuated", setting, checks, {"table": table}, plot)
