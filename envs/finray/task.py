"""What is asked of the ray, whichever way its fluid is computed: actions, observation, reward.

Everything here is in the units of the stream: lengths in ray lengths L, speeds in U, times in L/U,
forces in ``rho U^2 L / 2``, power in ``rho U^3 L / 2``, moments and energies in
``rho U^2 L^2 / 2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.core import State, check_choice, check_integer, check_number

OBJECTIVES = ("thrust", "efficiency", "tracking")
STATIONS = 8
"""Places along the ray at which its angle and rate are observed."""
LIMIT = 1000.0
"""Bound of observed rates, forces and velocities."""
PROBES = ((1.25, -0.5), (1.25, 0.0), (1.25, 0.5), (2.0, -0.5), (2.0, 0.0), (2.0, 0.5))
"""Places of the wake probes, from the base."""

MEASURES = (
    "thrust_coefficient",
    "lift_coefficient",
    "power_coefficient",
    "positive_power_coefficient",
    "fluid_power_coefficient",
    "base_moment_coefficient",
    "energy_coefficient",
    "tip_excursion",
    "max_speed",
)
"""Numbers that a control step measures and ``info`` carries."""


class RayTask:
    """Turns actions into actuation, measurements into observations and rewards.

    Args:
        id: Gymnasium id, for messages.
        n_links: Links of the chain.
        n_actions: Shape functions of the curvature that are driven, 1 to 3.
        amplitude: Bound of the actuation ``a``: mean curvature times length.
        rate_limit: Largest change of ``a`` in a time L/U, or None.
        control_interval: Time of one action, L/U.
        objective: ``thrust`` C_T, ``efficiency`` C_T - ``power_weight`` C_P, or ``tracking``
            -(C_T - ``thrust_target``)^2.
        power_weight: Price of power in ``efficiency``.
        thrust_target: Wanted C_T in ``tracking``.
        divergence_penalty: Taken from the reward where the simulation leaves its range.
        probes: Places ``[x, y]`` of the wake probes, L from the base.
        history: How many of the last observations are given, newest first.
    """

    def __init__(
        self,
        id: str,
        *,
        n_links: int,
        n_actions: int,
        amplitude: float,
        rate_limit: float | None,
        control_interval: float,
        objective: str,
        power_weight: float,
        thrust_target: float,
        divergence_penalty: float,
        probes: Any,
        history: int,
    ) -> None:
        self.n_links = check_integer(id, "n_links", n_links, STATIONS, 64)
        self.n_actions = check_integer(id, "n_actions", n_actions, 1, 3)
        self.amplitude = check_number(id, "amplitude", amplitude, 0.0, 2.0)
        self.control_interval = check_number(id, "control_interval", control_interval, 1e-3, 1.0)
        self.rate_limit = (
            None if rate_limit is None else check_number(id, "rate_limit", rate_limit, 0.0)
        )
        self.objective = check_choice(id, "objective", objective, OBJECTIVES)
        self.power_weight = check_number(id, "power_weight", power_weight, 0.0)
        self.thrust_target = check_number(id, "thrust_target", thrust_target)
        self.divergence_penalty = check_number(id, "divergence_penalty", divergence_penalty, 0.0)
        self.history = check_integer(id, "history", history, 1, 64)
        self.probes = _check_probes(id, probes)
        ends = np.arange(1, STATIONS + 1) * self.n_links / STATIONS
        self._stations = np.ceil(ends).astype(int) - 1
        high = np.concatenate(
            (
                np.ones(STATIONS),
                np.full(STATIONS, LIMIT),
                np.ones(2 * self.n_actions),
                np.full(3 + 2 * len(self.probes), LIMIT),
            )
        )
        self._high = high.astype(np.float32)
        stacked = np.tile(self._high, self.history)
        self.observation_space = spaces.Box(-stacked, stacked, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (self.n_actions,), np.float32)

    def target(self, a: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the actuation at the end of the interval, ``[n, actions]``."""
        wanted = self.amplitude * actions.astype(np.float64)
        if self.rate_limit is None:
            return wanted
        most = self.rate_limit * self.control_interval
        return a + np.clip(wanted - a, -most, most)

    def fresh(self, n: int) -> State:
        """Return the part of the state that is the task's, before anything was observed."""
        return {
            "a": np.zeros((n, self.n_actions)),
            "action": np.zeros((n, self.n_actions)),
            "measured": np.zeros((n, len(MEASURES))),
            "time": np.zeros(n),
            "frames": np.zeros((n, self.history, len(self._high)), np.float32),
            "clipped": np.zeros(n, np.int64),
        }

    def look(self, state: State, rate: np.ndarray, wake: np.ndarray, first: bool = False) -> None:
        """Write the newest observation into the state.

        Args:
            state: With ``theta``, ``a``, ``action`` and ``measured`` of now.
            rate: Rates of the links in U/L, ``[n, links]``.
            wake: Velocity at the probes in U, ``[n, 2 * probes]``.
            first: Whether the episode starts: its first observation fills the history.
        """
        measured = dict(zip(MEASURES, state["measured"].T, strict=True))
        forces = [measured[f"{name}_coefficient"] for name in ("thrust", "lift", "base_moment")]
        seen = np.concatenate(
            (
                np.sin(state["theta"][:, self._stations]),
                rate[:, self._stations],
                state["a"] / max(self.amplitude, 1e-12),
                state["action"],
                np.stack(forces, 1),
                wake,
            ),
            1,
        )
        bounded = np.clip(np.nan_to_num(seen), -self._high, self._high)
        state["clipped"] = (bounded != seen).sum(1)
        frames = state["frames"]
        if first:
            frames[:] = bounded[:, None]
        else:
            frames[:, 1:] = frames[:, :-1].copy()
            frames[:, 0] = bounded

    def observe(self, state: State) -> np.ndarray:
        """Return the observations, float32 ``[n, history * size]``."""
        return state["frames"].reshape(len(state["frames"]), -1).copy()

    def reward(self, state: State, diverged: np.ndarray) -> np.ndarray:
        """Return the rewards of the step just measured, ``[n]``."""
        thrust, power = state["measured"][:, 0], state["measured"][:, 2]
        if self.objective == "thrust":
            value = thrust.copy()
        elif self.objective == "efficiency":
            value = thrust - self.power_weight * power
        else:
            value = -((thrust - self.thrust_target) ** 2)
        return np.nan_to_num(value) - self.divergence_penalty * diverged

    def info(self, state: State) -> dict[str, np.ndarray]:
        """Return the measurements by name, with the time since the start and clipped numbers."""
        measured = {name: state["measured"][:, k].copy() for k, name in enumerate(MEASURES)}
        return measured | {
            "time": state["time"].copy(),
            "observation_clipped": state["clipped"].copy(),
        }


def measured(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return measurements by name as ``[n, measures]``."""
    return np.stack([np.asarray(values[name], np.float64) for name in MEASURES], 1)


def _check_probes(id: str, probes: Any) -> np.ndarray:
    try:
        places = np.array([[float(x), float(y)] for x, y in probes]).reshape(-1, 2)
    except (TypeError, ValueError):
        places = np.full((1, 2), np.nan)
    if not np.isfinite(places).all():
        raise ValueError(f"{id}: probes must be pairs of numbers, got {probes!r}")
    return places
