"""The actuated ray: what simple policies reach, where the energy goes, and mirror symmetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.finray.lbm import FinRayLBM
from envs.finray.policies import BEST_SINE, SQUARE, sine, square
from envs.finray.validation.report import Check, Result

Signal = Callable[[float], float]


def play(
    signal: Signal, steps: int = 200, starts: int = 1, **options: Any
) -> dict[str, np.ndarray]:
    """Return what ``info`` measures at each control step, ``[steps, starts]`` by name.

    One start is the passive flow; several differ by their random pre-actuation.
    """
    model = FinRayLBM(pre_actuation=0 if starts == 1 else 4, **options)
    rngs = [np.random.default_rng(k) for k in range(starts)]
    state = model.start(rngs, {})
    rows: list[dict[str, np.ndarray]] = []
    for step in range(steps):
        action = np.full((starts, 1), signal((step + 1) * model.task.control_interval), np.float32)
        outcome = model.step(state, action, rngs)
        state = outcome.state
        height = np.sin(state["theta"]).mean(1)
        rows.append(outcome.info | {"tip_height": height})
        if outcome.terminated.any():
            break
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def summary(series: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the means over the second half and the largest speed; starts side by side."""
    half = len(series["time"]) // 2
    thrust = series["thrust_coefficient"][half:].mean(0)
    power = series["power_coefficient"][half:].mean(0)
    return {
        "thrust": float(thrust.mean()),
        "thrust by start": thrust.tolist(),
        "power": float(power.mean()),
        "efficiency": float(thrust.mean() / power.mean()) if power.mean() > 0.1 else 0.0,
        "max_speed": float(series["max_speed"].max()),
        "tip peak to peak": float(np.ptp(series["tip_height"][half:])),
        "diverged": bool(series["diverged"].any()),
    }


def policies() -> Result:
    """The table of simple policies at the default setting, L 32."""
    draws = {s: np.random.default_rng(s).uniform(-1, 1, 201) for s in (0, 1)}
    runs: dict[str, tuple[Signal, float]] = {
        "zero": (lambda t: 0.0, 0.025),
        "random 0": (lambda t: float(draws[0][round(t / 0.05)]), 0.025),
        "random 1": (lambda t: float(draws[1][round(t / 0.05)]), 0.025),
    }
    for f in (0.8, 1.0, 1.2, 1.4, 1.6, 2.0):
        runs[f"sine {f}"] = (lambda t, f=f: sine(t, f), 0.025)
    runs["best sine, slow stream"] = (lambda t: sine(t, BEST_SINE), 0.0125)
    series = {name: play(signal, u_lattice=u) for name, (signal, u) in runs.items()}
    table = {name: summary(one) for name, one in series.items()}
    best = table["best sine, slow stream"]["thrust"]
    checks = [
        Check("zero action, C_T", table["zero"]["thrust"], -0.20, -0.16, "pilot -0.18 +- 0.02"),
        Check("best sine f 1.6, C_T", best, 1.36, 1.84, "pilot 1.60 +- 15 %"),
    ]
    return Result(
        "policies",
        {"preset": "small", "window": "second half of 200 control steps", "pre_actuation": 0},
        checks,
        {"table": table},
        lambda figure: _thrust(figure, series, ("zero", "sine 1.2", "best sine, slow stream")),
    )


def square_wave(starts: int = 12) -> Result:
    """The square wave at f 1.5 from many starts: its thrust comes in bursts."""
    series = play(lambda t: square(t, SQUARE), starts=starts)
    found = summary(series)
    thrust = np.array(found["thrust by start"])
    whole = series["thrust_coefficient"][40:].mean(0)
    checks = [
        Check("mean C_T over the starts", float(thrust.mean()), 4.25, 5.75, "pilot 5.0 +- 15 %"),
        Check("mean C_P over the starts", found["power"], 0.85 * 27.8, 1.15 * 27.8, "pilot 27.8"),
        Check("largest speed", found["max_speed"], 0.0, 0.4, "hard limit"),
    ]
    values = found | {
        "thrust, standard deviation over starts": float(thrust.std(ddof=1)),
        "thrust, standard error of the mean": float(thrust.std(ddof=1) / np.sqrt(starts)),
        "thrust after 2 L/U, mean": float(whole.mean()),
    }
    return Result(
        "square_wave",
        {"preset": "small", "frequency": SQUARE, "starts": starts, "u_lattice": 0.0125},
        checks,
        values,
        lambda figure: _bursts(figure, series),
    )


def energy_residual(steps: int = 200, **options: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Return the mean power that the budget misses over the mean power, second half."""
    series = play(lambda t: sine(t, BEST_SINE), steps, **options)
    half = len(series["time"]) // 2
    energy, time = series["energy_coefficient"][:, 0], series["time"][:, 0]
    stored = (energy[-1] - energy[half - 1]) / (time[-1] - time[half - 1])
    power = series["power_coefficient"][half:, 0].mean()
    missing = power - series["fluid_power_coefficient"][half:, 0].mean() - stored
    return float(missing / power), series


def energy() -> Result:
    """Power of the actuation against the energy of the ray and the power given to the fluid."""
    residual, series = energy_residual()
    time, stored = series["time"][:, 0], series["energy_coefficient"][:, 0]
    rate = np.gradient(stored, time)

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(time, series["power_coefficient"][:, 0], label="actuation")
        axes.plot(time, series["fluid_power_coefficient"][:, 0] + rate, "--", label="fluid + ray")
        axes.set(xlabel="time, L/U", ylabel="power coefficient", xlim=(5, 10))
        axes.legend()

    return Result(
        "energy",
        {"preset": "small", "policy": f"sine {BEST_SINE}"},
        [Check("missing power over mean C_P", residual, -0.02, 0.02, "bound asked for")],
        {"mean C_P": float(series["power_coefficient"][100:].mean())},
        plot,
    )


def mirror_difference(steps: int = 100, **options: Any) -> tuple[float, float]:
    """Return the largest difference of C_T and of mirrored angles between ``a`` and ``-a``."""
    worst_thrust, worst_angle = 0.0, 0.0
    model = FinRayLBM(base_offset=0.0, pre_actuation=0, passive_time=0.0, **options)
    rngs = [np.random.default_rng(0)] * 2
    state = model.start(rngs, {})
    draw = np.random.default_rng(5).uniform(-1, 1, steps)
    for value in draw:
        outcome = model.step(state, np.array([[value], [-value]], np.float32), rngs)
        state = outcome.state
        thrust = outcome.info["thrust_coefficient"]
        worst_thrust = max(worst_thrust, abs(float(thrust[0] - thrust[1])))
        worst_angle = max(worst_angle, float(np.abs(state["theta"].sum(0)).max()))
    return worst_thrust, worst_angle


def mirror() -> Result:
    """On a line of symmetry, the mirrored action makes the mirrored motion and the same thrust."""
    thrust, angle = mirror_difference()
    checks = [
        Check("difference of C_T in 100 control steps", thrust, 0.0, 1e-10, "bound asked for"),
        Check("difference of mirrored angles", angle, 0.0, 1e-10, "bound asked for"),
    ]
    return Result("mirror", {"preset": "small", "actions": "random"}, checks)


def _thrust(figure: Any, series: dict[str, dict[str, np.ndarray]], names: tuple[str, ...]) -> None:
    axes = figure.subplots()
    for name in names:
        axes.plot(series[name]["time"][:, 0], series[name]["thrust_coefficient"][:, 0], label=name)
    axes.set(xlabel="time, L/U", ylabel="thrust coefficient")
    axes.legend()


def _bursts(figure: Any, series: dict[str, np.ndarray]) -> None:
    axes = figure.subplots()
    axes.plot(series["time"], series["thrust_coefficient"], lw=0.6, alpha=0.7)
    axes.plot(
        series["time"][:, 0], series["thrust_coefficient"].mean(1), "k", label="mean of starts"
    )
    axes.set(xlabel="time, L/U", ylabel="thrust coefficient")
    axes.legend()
