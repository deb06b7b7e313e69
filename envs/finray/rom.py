"""``finray/rom-v0``: the same ray with a load computed from its motion alone; a surrogate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from envs.core import (
    Model,
    ModelEnv,
    ModelVectorEnv,
    Outcome,
    State,
    check_choice,
    check_integer,
    check_number,
)
from envs.finray.chain import SHAPES, make_chain
from envs.finray.rom_kernels import make_load, reference_steps
from envs.finray.task import PROBES, RayTask, measured


class FinRayROM(Model):
    """A fin ray whose fluid is a formula: elongated-body reaction and quasi-steady drag.

    It has the spaces of ``finray/lbm-v0`` and its equations of the ray, but no flow: no wake, no
    memory in the fluid, and probes that read the undisturbed stream. It is for tests and for
    pre-training; its numbers are not those of a fluid-structure simulation.

    Args:
        objective: ``thrust``, ``efficiency`` or ``tracking`` (:class:`RayTask`).
        re: Reynolds number; sets the drag along the ray (laminar flat plate, both sides).
        mass_ratio: Mass of the ray over that of the fluid: rho_s h / (rho L).
        stiffness: Bending stiffness EI / (rho U^2 L^3).
        added_mass: Added mass per length over rho L. This default and the next put the thrust's
            peak over frequency, and the power there, near those of the lattice.
        normal_drag: Coefficient of the drag across the ray.
        substeps: Time steps in a control interval.
        n_links: Links of the chain.
        n_actions: 1 (exponential shape), 2 (and uniform) or 3 (and linear).
        amplitude: Bound of the mean curvature times L.
        rate_limit: Largest change of the actuation in a time L/U, or None.
        control_interval: Time of one action, L/U.
        power_weight: Price of power in ``efficiency``.
        thrust_target: Wanted C_T in ``tracking``.
        divergence_penalty: Taken from the reward where the simulation stops being finite.
        probes: Places of the wake probes; they read the undisturbed stream.
        history: How many of the last observations are given.
        pre_actuation: Random control steps before an episode.
        backend: ``numba`` or ``reference``.
    """

    id: ClassVar[str] = "finray/rom-v0"
    render_fps: ClassVar[int] = 20

    def __init__(
        self,
        objective: str = "thrust",
        re: float = 500.0,
        mass_ratio: float = 0.5,
        stiffness: float = 10.0,
        added_mass: float = 0.7,
        normal_drag: float = 5.0,
        substeps: int = 6,
        n_links: int = 16,
        n_actions: int = 1,
        amplitude: float = 0.3,
        rate_limit: float | None = None,
        control_interval: float = 0.05,
        power_weight: float = 0.05,
        thrust_target: float = 1.0,
        divergence_penalty: float = 0.0,
        probes: Sequence[Sequence[float]] = PROBES,
        history: int = 1,
        pre_actuation: int = 4,
        backend: str = "numba",
    ) -> None:
        self.task = RayTask(
            self.id,
            n_links=n_links,
            n_actions=n_actions,
            amplitude=amplitude,
            rate_limit=rate_limit,
            control_interval=control_interval,
            objective=objective,
            power_weight=power_weight,
            thrust_target=thrust_target,
            divergence_penalty=divergence_penalty,
            probes=probes,
            history=history,
        )
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        re = check_number(self.id, "re", re, 1.0, 1e5)
        self.steps = check_integer(self.id, "substeps", substeps, 1, 1000)
        self.pre_actuation = check_integer(self.id, "pre_actuation", pre_actuation, 0, 1000)
        self.backend = check_choice(self.id, "backend", backend, ("numba", "reference"))
        self.chain = make_chain(
            links=self.task.n_links,
            length=1.0,
            base=(0.0, 0.0),
            mass=check_number(self.id, "mass_ratio", mass_ratio, 0.0, 1e3),
            stiffness=check_number(self.id, "stiffness", stiffness, 0.0, 1e4),
            shapes=SHAPES[: self.task.n_actions],
            markers_per_link=2,
        )
        self.load = make_load(
            self.chain,
            added=check_number(self.id, "added_mass", added_mass, 1e-3, 10.0),
            normal=check_number(self.id, "normal_drag", normal_drag, 0.0, 100.0),
            tangent=2 * (1.328 / math.sqrt(re) + 4.12 / re),
            dt=self.task.control_interval / self.steps,
        )
        self._advance_rays = _numba_steps if self.backend == "numba" else reference_steps

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Return straight rays after random actions of each row."""
        n = len(rngs)
        state = self.task.fresh(n) | {
            "theta": np.zeros((n, self.chain.links)),
            "omega": np.zeros((n, self.chain.links)),
        }
        size = (self.pre_actuation, self.task.n_actions)
        actions = np.stack([rng.uniform(-1, 1, size).astype(np.float32) for rng in rngs], 1)
        for action in actions:
            self._advance(state, action)
        state["time"] = np.zeros(n)
        self.task.look(state, state["omega"], self._wake(n), first=True)
        return state

    def observe(self, state: State) -> np.ndarray:
        """Return the observations."""
        return self.task.observe(state)

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance every ray by one control interval."""
        self._advance(state, actions)
        diverged = ~(np.isfinite(state["theta"]).all(1) & np.isfinite(state["measured"]).all(1))
        self.task.look(state, state["omega"], self._wake(len(actions)))
        info = self.task.info(state) | {"diverged": diverged}
        return Outcome(state, self.task.reward(state, diverged), diverged.copy(), info)

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the measurements of the last step before the episode."""
        return self.task.info(state) | {"diverged": np.zeros(len(state["time"]), bool)}

    def _advance(self, state: State, actions: np.ndarray) -> None:
        target = self.task.target(state["a"], actions)
        state["theta"], state["omega"], sums = self._advance_rays(
            self.load, state["theta"], state["omega"], state["a"], target, self.steps
        )
        state["a"], state["action"] = target, actions.astype(np.float64)
        state["time"] = state["time"] + self.task.control_interval
        energy = self.chain.kinetic(state["theta"], state["omega"])
        energy = energy + self.chain.bending(state["theta"], target)
        fx, fy, power, positive, fluid_power, moment, tip = sums.T
        state["measured"] = measured(
            {
                "thrust_coefficient": 2 * fx,
                "lift_coefficient": -2 * fy,
                "power_coefficient": 2 * power,
                "positive_power_coefficient": 2 * positive,
                "fluid_power_coefficient": 2 * fluid_power,
                "base_moment_coefficient": 2 * moment,
                "energy_coefficient": 2 * energy,
                "tip_excursion": tip,
                "max_speed": np.zeros(len(tip)),
            }
        )

    def _wake(self, n: int) -> np.ndarray:
        return np.tile(np.array([1.0, 0.0]), (n, len(self.task.probes)))

    def render(self, state: State) -> np.ndarray:
        """Return the ray in the stream, uint8 ``[height, width, 3]``."""
        from envs.finray.picture import draw

        points = self.chain.points(state["theta"][:1])[0]
        base, time = np.array([1.0, 1.25]), float(state["time"][0])
        return draw(points, base, (4.0, 2.5), state["measured"][0], time, None)


def _numba_steps(
    load: Any, theta: np.ndarray, omega: np.ndarray, a0: np.ndarray, a1: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from envs.finray.rom_numba import many_steps

    theta, omega = theta.copy(), omega.copy()
    sums = np.zeros((len(theta), 7))
    many_steps(load, theta, omega, a0, a1, steps, sums)
    return theta, omega, sums


class FinRayROMEnv(ModelEnv):
    """One reduced-order ray, as a plain environment."""

    model_type = FinRayROM


class FinRayROMVectorEnv(ModelVectorEnv):
    """Many reduced-order rays."""

    model_type = FinRayROM
