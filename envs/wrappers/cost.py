"""Make an environment as slow as a simulator, to compare schedules."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from envs.core.arguments import check_choice, check_number

LAWS = ("fixed", "exp", "lognormal")


class Cost(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Sleeps at every step, as a simulator on another core or machine would take its time.

    It sleeps and does not spin: many such environments share a core. What it sleeps is drawn from a
    generator of its own, so that the episodes are those of the environment without it;
    ``info["cost_ms"]`` tells how long. A reset sleeps too where ``on_reset`` is set.

    Args:
        env: The environment.
        mean_ms: Mean of the sleep in milliseconds.
        law: ``fixed``, ``exp`` (exponential) or ``lognormal``.
        sigma: Standard deviation of the logarithm (``lognormal``).
        on_reset: Whether a reset costs as much as a step.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        mean_ms: float,
        law: str = "fixed",
        sigma: float = 0.5,
        on_reset: bool = False,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, mean_ms=mean_ms, law=law, sigma=sigma, on_reset=on_reset
        )
        gymnasium.Wrapper.__init__(self, env)
        self.mean_ms = check_number("wrapper cost", "mean_ms", mean_ms, 0.0)
        self.law = check_choice("wrapper cost", "law", law, LAWS)
        self.sigma = check_number("wrapper cost", "sigma", sigma, 0.0)
        self.on_reset = bool(on_reset)
        self._random = np.random.default_rng()

    def draw(self) -> float:
        """Return the next cost in milliseconds."""
        if self.law == "exp":
            return float(self._random.exponential(self.mean_ms))
        if self.law == "lognormal" and self.mean_ms:
            centre = math.log(self.mean_ms) - self.sigma**2 / 2
            return float(self._random.lognormal(centre, self.sigma))
        return self.mean_ms

    def _sleep(self, info: dict[str, Any]) -> dict[str, Any]:
        cost = self.draw()
        time.sleep(cost / 1000)
        return info | {"cost_ms": cost}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed also seeds the costs, apart from the environment."""
        if seed is not None:
            self._random = np.random.default_rng([seed, 2])
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, self._sleep(info) if self.on_reset else info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step and sleep."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, self._sleep(info)

    def get_state(self) -> dict[str, Any]:
        """Return what changes: the generator of the costs."""
        return {"random": copy.deepcopy(self._random.bit_generator.state)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on exactly from what ``get_state`` returned."""
        self._random.bit_generator.state = copy.deepcopy(state["random"])


def cost(env: gymnasium.Env[Any, Any], mean_ms: float, law: str = "fixed", **options: Any) -> Cost:
    """Return ``env`` with a sleep of ``mean_ms`` at every step; see :class:`Cost`."""
    return Cost(env, mean_ms, law, **options)
