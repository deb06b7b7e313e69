"""``finray/lbm-v0``: a flexible ray in a stream, by lattice Boltzmann and a chain of links."""

from __future__ import annotations

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
from envs.finray.engine import BACKENDS, Engine, Interval, make_engine
from envs.finray.fluid import Fluid
from envs.finray.lattice import velocity
from envs.finray.task import PROBES, RayTask, measured

SOFT_MACH_LIMIT = 0.25
"""Speed, cells per step, up to which compressibility is negligible; beyond it a step is flagged."""

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "cells_per_length": 16,
        "domain": (4.0, 3.0),
        "u_lattice": 0.025,
        "dtype": "float64",
        "backend": "numba",
        "device": "cpu",
    },
    "small": {
        "cells_per_length": 32,
        "domain": (6.0, 4.0),
        "u_lattice": 0.0125,
        "dtype": "float64",
        "backend": "numba",
        "device": "cpu",
    },
    "medium": {
        "cells_per_length": 64,
        "domain": (6.0, 4.0),
        "u_lattice": 0.0125,
        "dtype": "float32",
        "backend": "triton",
        "device": "cuda",
    },
}
"""Resolution, domain and where to compute; an argument given by name wins over its preset."""

_PASSIVE: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
"""Flow, angles and rates after the passive start, by configuration; kept while Python runs."""


class FinRayLBM(Model):
    """A thin flexible ray, clamped at its base in a stream, bent from inside.

    Args:
        preset: ``tiny``, ``small`` or ``medium`` (:data:`PRESETS`).
        objective: ``thrust``, ``efficiency`` or ``tracking`` (:class:`RayTask`).
        re: Reynolds number U L / nu.
        mass_ratio: Mass of the ray over that of the fluid: rho_s h / (rho L).
        stiffness: Bending stiffness EI / (rho U^2 L^3).
        cells_per_length: Cells along the ray.
        u_lattice: Speed of the stream, cells per step. 0.0125 keeps any bounded policy well below
            the speed of sound, 0.025 is enough for smooth ones.
        domain: Length and height of the domain, L; the base lies a third down its length.
        n_links: Links of the chain.
        n_actions: 1 (exponential shape), 2 (and uniform) or 3 (and linear).
        amplitude: Bound of the mean curvature times L.
        rate_limit: Largest change of the actuation in a time L/U, or None.
        control_interval: Time of one action, L/U.
        power_weight: Price of power in ``efficiency``.
        thrust_target: Wanted C_T in ``tracking``.
        divergence_penalty: Taken from the reward where the simulation leaves its range.
        probes: Places ``[x, y]`` of the wake probes, L from the base.
        history: How many of the last observations are given.
        passive_time: Time of unactuated flow before an episode, L/U.
        pre_actuation: Random control steps before an episode.
        walls: ``periodic`` or ``free_slip`` sides.
        base_offset: Height of the base above the middle row, cells.
        dtype: Of the populations: ``float64`` or ``float32``.
        backend: ``numba``, ``reference``, ``torch`` or ``triton``.
        device: ``cpu`` or a CUDA device.
        threads: CPU threads that share the environments of a batch (``numba``).
    """

    id: ClassVar[str] = "finray/lbm-v0"
    render_fps: ClassVar[int] = 20

    def __init__(
        self,
        preset: str = "small",
        objective: str = "thrust",
        re: float = 500.0,
        mass_ratio: float = 0.5,
        stiffness: float = 10.0,
        cells_per_length: int | None = None,
        u_lattice: float | None = None,
        domain: Sequence[float] | None = None,
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
        passive_time: float = 2.0,
        pre_actuation: int = 4,
        walls: str = "periodic",
        base_offset: float = 0.37,
        dtype: str | None = None,
        backend: str | None = None,
        device: str | None = None,
        threads: int = 1,
    ) -> None:
        given = PRESETS[check_choice(self.id, "preset", preset, PRESETS)]
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
        cells = given["cells_per_length"] if cells_per_length is None else cells_per_length
        self.cells = check_integer(self.id, "cells_per_length", cells, 12, 512)
        u = given["u_lattice"] if u_lattice is None else u_lattice
        self.u = check_number(self.id, "u_lattice", u, 1e-4, 0.1)
        self.passive_time = check_number(self.id, "passive_time", passive_time, 0.0, 100.0)
        self.pre_actuation = check_integer(self.id, "pre_actuation", pre_actuation, 0, 1000)
        dtype = given["dtype"] if dtype is None else dtype
        backend = given["backend"] if backend is None else backend
        device = given["device"] if device is None else device
        if not isinstance(device, str):
            raise ValueError(f"{self.id}: device must be a name such as cuda, got {device!r}")
        check_choice(self.id, "dtype", dtype, ("float64", "float32"))
        check_choice(self.id, "backend", backend, BACKENDS)
        check_choice(self.id, "walls", walls, ("periodic", "free_slip"))
        check_number(self.id, "re", re, 1.0, 1e5)
        check_number(self.id, "mass_ratio", mass_ratio, 0.0, 1e3)
        check_number(self.id, "stiffness", stiffness, 0.0, 1e4)
        check_number(self.id, "base_offset", base_offset, -0.5, 0.5)
        check_integer(self.id, "threads", threads, 1, 1024)
        width, height = _check_domain(self.id, given["domain"] if domain is None else domain)
        nx, ny = round(width * self.cells), round(height * self.cells)
        self.steps = max(1, round(self.task.control_interval * self.cells / self.u))
        self.fluid = Fluid(nx, ny, self.u * self.cells / re, np.full(ny, self.u), walls)
        self.chain = make_chain(
            links=self.task.n_links,
            length=self.cells,
            base=(nx / 3, ny / 2 + base_offset),
            mass=mass_ratio * self.cells,
            stiffness=stiffness * self.u**2 * self.cells**3,
            shapes=SHAPES[: self.task.n_actions],
        )
        self._probes = self._probe_cells()
        extra = {"threads": threads} if backend == "numba" else {}
        try:
            self.engine: Engine = make_engine(
                backend, self.fluid, self.chain, dtype, device, **extra
            )
        except ValueError as error:
            raise ValueError(f"{self.id}: {error}") from None
        self._key = (cells, u, width, height, n_links, n_actions, re, mass_ratio, stiffness, walls)
        self._key += (base_offset, self.passive_time, dtype, backend)

    def _probe_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns of the wake probes."""
        place = np.array(self.chain.base) + self.cells * self.task.probes
        columns, rows = np.rint(place).astype(int).T
        inside = (
            (columns > 0) & (columns < self.fluid.nx - 1) & (rows >= 0) & (rows < self.fluid.ny)
        )
        if not inside.all():
            outside = self.task.probes[~inside][0].tolist()
            raise ValueError(f"{self.id}: probes must lie in the domain, got {outside}")
        return rows, columns

    def start(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Return the flow after the passive time and random actions of each row."""
        n = len(rngs)
        f, theta, omega = self._passive()
        state = self.task.fresh(n) | {
            "f": self.engine.repeat(f, n),
            "theta": np.repeat(theta, n, 0),
            "omega": np.repeat(omega, n, 0),
        }
        size = (self.pre_actuation, self.task.n_actions)
        actions = np.stack([rng.uniform(-1, 1, size).astype(np.float32) for rng in rngs], 1)
        for action in actions:
            self._advance(state, action)
        state["time"][:] = 0.0
        self.task.look(state, self._rates(state), self._wake(state), first=True)
        return state

    def _passive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._key not in _PASSIVE:
            theta = np.zeros((1, self.chain.links))
            none = np.zeros((1, self.task.n_actions))
            f = self.engine.uniform(1)
            steps = round(self.passive_time * self.cells / self.u)
            if steps:
                after = self.engine.advance(f, theta, theta.copy(), none, none, steps)
                if after.diverged[0]:
                    raise RuntimeError(
                        f"{self.id}: the unactuated flow leaves the lattice's range (largest speed "
                        f"{after.max_speed[0]:.3g}); take a smaller u_lattice or re"
                    )
                _PASSIVE[self._key] = (np.asarray(after.f), after.theta, after.omega)
            else:
                _PASSIVE[self._key] = (np.asarray(f), theta, theta.copy())
        return _PASSIVE[self._key]

    def observe(self, state: State) -> np.ndarray:
        """Return the observations."""
        return self.task.observe(state)

    def step(
        self, state: State, actions: np.ndarray, rngs: Sequence[np.random.Generator]
    ) -> Outcome:
        """Advance every ray by one control interval."""
        after = self._advance(state, actions)
        self.task.look(state, self._rates(state), self._wake(state))
        info = self.task.info(state) | {
            "diverged": after.diverged,
            "mach_exceeded": after.max_speed > SOFT_MACH_LIMIT,
            "lattice_steps": after.steps.astype(np.int64),
        }
        reward = self.task.reward(state, after.diverged)
        return Outcome(state, reward, after.diverged.copy(), info)

    def start_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the measurements of the last step before the episode."""
        n = len(state["time"])
        return self.task.info(state) | {
            "diverged": np.zeros(n, bool),
            "mach_exceeded": np.zeros(n, bool),
            "lattice_steps": np.zeros(n, np.int64),
        }

    def _advance(self, state: State, actions: np.ndarray) -> Interval:
        target = self.task.target(state["a"], actions)
        after = self.engine.advance(
            state["f"], state["theta"], state["omega"], state["a"], target, self.steps
        )
        state["f"], state["theta"], state["omega"] = after.f, after.theta, after.omega
        state["a"], state["action"] = after.a, actions.astype(np.float64)
        state["time"] = state["time"] + after.steps * self.u / self.cells
        state["measured"] = self._measured(after)
        return after

    def _measured(self, after: Interval) -> np.ndarray:
        force, u = 0.5 * self.u**2 * self.cells, self.u
        energy = self.chain.kinetic(after.theta, after.omega)
        energy = energy + self.chain.bending(after.theta, after.a)
        return measured(
            {
                "thrust_coefficient": after.force_x / force,
                "lift_coefficient": -after.force_y / force,
                "power_coefficient": after.power / (force * u),
                "positive_power_coefficient": after.power_positive / (force * u),
                "fluid_power_coefficient": after.fluid_power / (force * u),
                "base_moment_coefficient": after.moment / (force * self.cells),
                "energy_coefficient": energy / (force * self.cells),
                "tip_excursion": after.tip / self.cells,
                "max_speed": after.max_speed,
            }
        )

    def _rates(self, state: State) -> np.ndarray:
        return state["omega"] * (self.cells / self.u)

    def _wake(self, state: State) -> np.ndarray:
        f = self.engine.sample(state["f"], *self._probes)
        return np.stack(velocity(f), -1).reshape(len(f), -1) / self.u

    def vorticity(self, state: State) -> np.ndarray:
        """Return the vorticity of row 0 in U/L, ``[ny, nx]``."""
        u, v = velocity(np.asarray(state["f"][:1]))
        curl = np.gradient(v[0], axis=1) - np.gradient(u[0], axis=0)
        return np.asarray(curl, np.float64) * (self.cells / self.u)

    def render(self, state: State) -> np.ndarray:
        """Return the vorticity with the ray, uint8 ``[height, width, 3]``."""
        from envs.finray.picture import draw

        base = np.array(self.chain.base)
        points = (self.chain.points(state["theta"][:1])[0] - base) / self.cells
        return draw(
            points,
            base / self.cells,
            (self.fluid.nx / self.cells, self.fluid.ny / self.cells),
            state["measured"][0],
            float(state["time"][0]),
            self.vorticity(state),
        )


def _check_domain(id: str, domain: Any) -> tuple[float, float]:
    if not isinstance(domain, Sequence) or len(domain) != 2:
        raise ValueError(f"{id}: domain must be [length, height], got {domain!r}")
    width = check_number(id, "domain[0]", domain[0], 3.0, 100.0)
    return width, check_number(id, "domain[1]", domain[1], 2.5, 100.0)


class FinRayLBMEnv(ModelEnv):
    """One ray in a stream, as a plain environment."""

    model_type = FinRayLBM


class FinRayLBMVectorEnv(ModelVectorEnv):
    """Many rays, each in its own stream."""

    model_type = FinRayLBM
