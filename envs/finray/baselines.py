"""Open-loop baselines: a grid of sinusoids and a square wave, all played in one batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.finray.policies import SQUARE, sine, square

PERIODS = 6
"""Periods that a sinusoid is played for."""
DISCARDED = 2
"""Periods at the start that its means leave out: the ray is not yet periodic."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one signal did, as means over the periods that count.

    Attributes:
        frequency: U/L.
        amplitude: Share of the bound.
        second: Share of the bound of a second harmonic.
        phase: Phase of the second harmonic, radians.
        reward: Mean reward of a control step.
        thrust: Mean C_T.
        power: Mean C_P.
        max_speed: Largest speed, cells per step.
        diverged: Whether the run left the range of its model; its means are then NaN.
    """

    frequency: float
    amplitude: float
    second: float
    phase: float
    reward: float
    thrust: float
    power: float
    max_speed: float
    diverged: bool

    @property
    def efficiency(self) -> float:
        """Mean C_T over mean C_P."""
        return self.thrust / self.power


def sinusoid_grid(
    env: Any,
    amps: Sequence[float],
    freqs: Sequence[float],
    seconds: Sequence[float] = (0.0,),
    phases: Sequence[float] = (0.0,),
    seed: int = 0,
) -> list[Score]:
    """Play ``a(t) = A (sin 2 pi f t + B sin(4 pi f t + psi))`` for every point of a grid at once.

    Args:
        env: ``finray/lbm-v0`` or ``finray/rom-v0``, plain or vector; its model is used, its
            episode is not.
        amps: Amplitudes A, shares of the bound; the sum is clipped to the bound.
        freqs: Frequencies f, U/L.
        seconds: Shares B of a second harmonic.
        phases: Its phases psi.
        seed: Seed of every row's start.

    Returns:
        A score for each point, best mean reward first.
    """
    points = list(itertools.product(freqs, amps, seconds, phases))

    def signal(point: tuple[float, ...], time: float) -> float:
        frequency, amplitude, second, phase = point
        value = sine(time, frequency) + second * sine(time, 2 * frequency, phase=phase)
        return float(np.clip(amplitude * value, -1.0, 1.0))

    return _play(env, points, signal, seed)


def square_wave(env: Any, freqs: Sequence[float] = (SQUARE,), seed: int = 0) -> list[Score]:
    """Play the square wave at the full bound for each frequency at once; best reward first."""
    points = [(frequency, 1.0, 0.0, 0.0) for frequency in freqs]
    return _play(env, points, lambda point, time: square(time, point[0]), seed)


def _play(
    env: Any,
    points: list[tuple[float, float, float, float]],
    signal: Callable[[tuple[float, ...], float], float],
    seed: int,
) -> list[Score]:
    """Play a signal for each point until its periods are over, and return the sorted scores."""
    model = getattr(env, "unwrapped", env).model
    interval = model.task.control_interval
    if not points:
        raise ValueError("a grid needs at least one amplitude and one frequency")
    first = np.array([round(DISCARDED / (p[0] * interval)) for p in points])
    last = np.array([round(PERIODS / (p[0] * interval)) for p in points])
    rngs = [np.random.default_rng(seed) for _ in points]
    state = model.start(rngs, {})
    sums, dead = np.zeros((3, len(points))), np.zeros(len(points), bool)
    fastest = np.zeros(len(points))
    for step in range(int(last.max())):
        time = (step + 1) * interval
        actions = np.array([[signal(p, time)] * model.task.n_actions for p in points], np.float32)
        outcome = model.step(state, actions, rngs)
        state, info = outcome.state, outcome.info
        dead |= info["diverged"]
        counts = (step >= first) & (step < last)
        values = np.stack((outcome.reward, info["thrust_coefficient"], info["power_coefficient"]))
        sums += np.where(counts, np.nan_to_num(values), 0.0)
        fastest = np.maximum(fastest, np.where(step < last, info["max_speed"], 0.0))
    means = np.where(dead, np.nan, sums / (last - first))
    scores = [
        Score(*point, *(float(value) for value in mean), float(speed), bool(lost))
        for point, mean, speed, lost in zip(points, means.T, fastest, dead, strict=True)
    ]
    return sorted(scores, key=lambda score: -np.inf if score.diverged else score.reward)[::-1]
