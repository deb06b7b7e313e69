"""Steps per second of an environment: its vector form, its plain form, Gymnasium's loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlcore.errors import ConfigError

ROUNDS = 5
BATCHES = 16
BY_COST = {"us": 1024, "ms": 64, "100ms": 4}
SYNC_ENVS = 8
"""Most environments of Gymnasium's own loop: its speed does not depend on more."""

Stepper = Callable[[float], float]
"""Plays for so many seconds and returns steps per second."""


def default_envs(id: str) -> int:
    """Return how many environments the vector form is measured with, by the cost of a step."""
    from envs.catalogue import entry

    try:
        return BY_COST[entry(id).cost]
    except KeyError:
        return 64


def env_bench(
    id: str,
    *,
    num_envs: int | None = None,
    seconds: float = 1.0,
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure the forms of an environment in turn, A B C A B C, with actions drawn beforehand.

    Args:
        id: Gymnasium id.
        num_envs: Environments of the vector form; by default :func:`default_envs`.
        seconds: Of one sample of one form.
        kwargs: Passed to the environment.

    Returns:
        ``id``, ``num_envs`` and, for each of ``vector``, ``plain`` and ``gymnasium``, its
        ``steps_per_s`` (median of the samples) and ``samples``; ``ratio`` holds the median,
        smallest and largest quotient of the vector form and Gymnasium's loop. A form that an
        environment does not have is None.

    Raises:
        ConfigError: The environment cannot be made.
    """
    envs = num_envs or default_envs(id)
    forms = steppers(id, envs, dict(kwargs or {}))
    for step in forms.values():
        step(min(seconds, 0.2))  # what is compiled or cached is there from now on
    samples: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, step in forms.items():
            samples[name].append(step(seconds))
    result: dict[str, Any] = {"id": id, "num_envs": envs, "kwargs": dict(kwargs or {})}
    for name in FORMS:
        found = samples.get(name)
        result[name] = found and {"steps_per_s": statistics.median(found), "samples": found}
    result["ratio"] = _ratio(samples)
    return result


def _ratio(samples: Mapping[str, Sequence[float]]) -> dict[str, float] | None:
    if "vector" not in samples:
        return None
    pairs = zip(samples["vector"], samples["gymnasium"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


FORMS = ("vector", "plain", "gymnasium")


def steppers(
    id: str, num_envs: int, kwargs: dict[str, Any], forms: Sequence[str] = FORMS
) -> dict[str, Stepper]:
    """Return what plays each of ``forms`` that ``id`` has, by name."""
    import gymnasium

    from envs.make import make_envs

    # The plain form is made in any case: it also reports a wrong id.
    plain: Any = make_envs(id, 1, kwargs=kwargs, vectorization="sync")[0]  # type: ignore[index]
    found: dict[str, Stepper] = {}
    if "vector" in forms and gymnasium.spec(id).vector_entry_point is not None:
        found["vector"] = vector_stepper(make_envs(id, num_envs, kwargs=kwargs), id)
    if "plain" in forms:
        found["plain"] = plain_stepper(plain, id)
    if "gymnasium" in forms:
        count = min(num_envs, SYNC_ENVS)
        loop = gymnasium.make_vec(id, count, vectorization_mode="sync", **kwargs)
        found["gymnasium"] = vector_stepper(loop, id)
    return found


def pool(space: Any, id: str, size: int) -> list[Any]:
    """Return actions to draw from: random ones, or of its own policies where actions are texts."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Text):
        space.seed(0)
        return [space.sample() for _ in range(size)]
    import gymnasium

    from envs.testing.traces import record

    try:
        return record(gymnasium.make(id, disable_env_checker=True), id, size)
    except KeyError:
        raise ConfigError(f"{id} is not ours and takes texts: nobody to ask for any") from None


def vector_stepper(env: Any, id: str) -> Stepper:
    """Return what steps a vector environment, counting a step of each of its environments."""
    from envs.testing.traces import batched

    rng = np.random.default_rng(0)
    drawn = pool(env.single_action_space, id, min(256, BATCHES * env.num_envs))
    picks = rng.integers(len(drawn), size=(BATCHES, env.num_envs))
    batches = [batched([drawn[k] for k in row]) for row in picks]
    env.reset(seed=0)

    def play(seconds: float) -> float:
        started, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            env.step(batches[count % BATCHES])
            count += 1
        return float(count * env.num_envs / elapsed)

    return play


def plain_stepper(env: Any, id: str) -> Stepper:
    """Return what steps a plain environment and resets it when an episode ends."""
    actions = pool(env.action_space, id, 256)
    env.reset(seed=0)

    def play(seconds: float) -> float:
        started, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            _, _, terminated, truncated, _ = env.step(actions[count % 256])
            count += 1
            if terminated or truncated:
                env.reset()
        return count / elapsed

    return play
