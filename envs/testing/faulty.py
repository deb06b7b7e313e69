"""An environment that fails on demand, for the tests of supervision and of the boundary checks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Result = tuple[Any, Any, Any, Any, dict[str, Any]]


class FaultyEnv(gymnasium.Env[np.ndarray, int]):
    """A harmless task with one fault in it.

    Without the fault: observations are four numbers in [-1, 1], action 1 is worth +1, action 0
    nothing, and an episode is truncated after ``episode_steps``.

    Args:
        fault: One of ``FAULTS``, or none.
        at_step: Step, counted over all episodes of this environment from 1, of the first fault.
        times: How often it strikes; 0 is for ever. Counted in this environment, or, with
            ``marker``, over all processes and restarts of a run.
        marker: Path that files ``<marker>.0``, ``<marker>.1``, ... are made next to, one a strike.
        seeds: Only an environment whose first reset had one of these seeds is faulty. A run's
            seeds are ``rlcore.data.seeding.env_seeds(seed, stream, envs, incarnation)``.
        seconds: How long ``slow`` waits at every step.
        megabytes: How much ``leak`` keeps at every step.
        episode_steps: Length of an episode.
        probability: Chance that a fault that is due strikes, drawn apart from the observations.
        render_mode: Not supported; accepted for ``gymnasium.make``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name and form
    observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(
        self,
        fault: str | None = None,
        at_step: int = 1,
        times: int = 1,
        marker: str | None = None,
        seeds: Sequence[int] | None = None,
        seconds: float = 0.05,
        megabytes: int = 10,
        episode_steps: int = 20,
        probability: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"unknown fault {fault!r}; one of {', '.join(FAULTS)}")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability is {probability}, wanted [0, 1]")
        self.render_mode = render_mode
        self.fault = fault
        self.at_step = at_step
        self.times = times
        self.marker = marker
        self.seeds = None if seeds is None else frozenset(int(seed) for seed in seeds)
        self.seconds = seconds
        self.megabytes = megabytes
        self.episode_steps = episode_steps
        self.probability = probability
        self.total = 0
        self.struck = 0
        self._first_seed: int | None = None
        self._chance = np.random.default_rng(0)
        self._step = 0
        self._leak: list[bytearray] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the faults of ``reset`` strike here."""
        super().reset(seed=seed)
        if self._first_seed is None:
            self._first_seed = seed
            self._chance = np.random.default_rng([1, seed or 0])
        self._step = 0
        if self.fault in RESET_FAULTS and self.total >= self.at_step - 1 and self._strikes():
            obs = RESET_FAULTS[self.fault](self)
            return obs, {}
        return self._observation(), {}

    def step(self, action: int) -> Result:
        """Play one step; the faults of ``step`` strike here."""
        self.total += 1
        self._step += 1
        result: Result = (
            self._observation(),
            float(action == 1),
            False,
            self._step >= self.episode_steps,
            {},
        )
        if self.fault in STEP_FAULTS and self.total >= self.at_step and self._strikes():
            return STEP_FAULTS[self.fault](self, result)
        return result

    def _observation(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 4).astype(np.float32)

    def _strikes(self) -> bool:
        if self.seeds is not None and self._first_seed not in self.seeds:
            return False
        if self.probability < 1.0 and self._chance.random() >= self.probability:
            return False
        if self.times == 0:
            return True
        if self.marker is None:
            self.struck += 1
            return self.struck <= self.times
        for number in range(self.times):
            try:
                Path(f"{self.marker}.{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


def _raise(env: FaultyEnv, result: Any = None) -> Any:
    raise RuntimeError(f"fault on demand in step {env.total}")


def _hang(env: FaultyEnv, result: Any = None) -> Any:
    while True:
        time.sleep(0.5)


def _slow(env: FaultyEnv, result: Result) -> Result:
    time.sleep(env.seconds)
    return result


def _exit(env: FaultyEnv, result: Result) -> Result:
    os._exit(3)


def _segfault(env: FaultyEnv, result: Result) -> Result:
    import ctypes

    ctypes.string_at(0)
    return result


def _leak(env: FaultyEnv, result: Result) -> Result:
    block = bytearray(env.megabytes << 20)
    block[::4096] = b"\1" * len(block[::4096])
    env._leak.append(block)
    return result


def _obs(make: Callable[[np.ndarray], Any]) -> Callable[[FaultyEnv, Result], Result]:
    return lambda env, result: (make(result[0]), *result[1:])


def _set(obs: np.ndarray, value: float) -> np.ndarray:
    obs = obs.copy()
    obs[2] = value
    return obs


STEP_FAULTS: dict[str, Callable[[FaultyEnv, Result], Any]] = {
    "raise": _raise,
    "hang": _hang,
    "slow": _slow,
    "exit": _exit,
    "segfault": _segfault,
    "leak": _leak,
    "nan": _obs(lambda obs: _set(obs, np.nan)),
    "inf": _obs(lambda obs: _set(obs, np.inf)),
    "nan_reward": lambda env, result: (result[0], float("nan"), *result[2:]),
    "inf_reward": lambda env, result: (result[0], float("inf"), *result[2:]),
    "wrong_shape": _obs(lambda obs: obs[:1]),
    "wrong_dtype": _obs(lambda obs: obs.astype(np.float64)),
    "out_of_space": _obs(lambda obs: _set(obs, 7.0)),
    "not_an_array": _obs(lambda obs: obs.tolist()),
    "no_reward": lambda env, result: (result[0], None, *result[2:]),
    "four_values": lambda env, result: (*result[:3], result[4]),
}
"""What a fault does to the result of ``step``."""

RESET_FAULTS: dict[str, Callable[[FaultyEnv], Any]] = {
    "raise_in_reset": _raise,
    "hang_in_reset": _hang,
    "ignore_seed": lambda env: (np.frombuffer(os.urandom(4), np.uint8) / 255).astype(np.float32),
    "wrong_shape_in_reset": lambda env: np.zeros((4, 1), np.float32),
}
"""What a fault makes ``reset`` return as the observation."""

FAULTS = (*STEP_FAULTS, *RESET_FAULTS)
