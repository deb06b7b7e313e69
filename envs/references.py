"""Play an environment with the policies that its entry in the catalogue names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.catalogue import entry as entry_of
from envs.core.entry import Reference

Policy = Callable[[Any, dict[str, Any]], Any]
"""``policy(obs, info) -> action``, for one episode."""

RANDOM = "random"


def make_policy(name: str, env: Any, seed: int) -> Policy:
    """Return the policy ``name`` for one episode of ``env``.

    Args:
        name: ``random`` or ``module:function``, as in :class:`envs.core.entry.Reference`.
        env: The environment, with or without wrappers.
        seed: Of the random policy, whose draws are apart from those of an environment that was
            reset with the same number.

    Raises:
        ValueError: The name has another form, or there is no such function.
    """
    if name == RANDOM:
        space = env.action_space
        # An environment reset with the same number must not be told its own draws.
        space.seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
        return lambda obs, info: space.sample()
    module, _, function = name.partition(":")
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ValueError, ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"no policy {name!r}: wanted random or module:function") from error
    policy: Policy = maker(env.unwrapped)
    return policy


def chosen(id: str, which: str) -> str:
    """Return the policy of an environment that ``which`` stands for.

    Args:
        id: Gymnasium id.
        which: ``random``, ``best`` (of the entry's references by their mean) or
            ``module:function``.

    Raises:
        ValueError: ``best`` is asked of an environment without references.
    """
    if which != "best":
        return which
    try:
        references = entry_of(id).references
    except KeyError:
        references = ()
    if not references:
        raise ValueError(f"{id} names no policies: take random or module:function")
    return max(references, key=lambda reference: reference.mean).policy


def returns(
    id: str, policy: str, episodes: int, seed: int = 0, preset: str | None = None, **kwargs: Any
) -> np.ndarray:
    """Return the undiscounted returns of ``episodes`` episodes.

    Args:
        id: Gymnasium id.
        policy: As in :func:`make_policy`.
        episodes: How many.
        seed: Episode ``k`` is reset with ``seed + k``.
        preset: Name of :data:`envs.presets.PRESETS` to play it under.
        **kwargs: Passed to the environment.

    Returns:
        Float64 ``[episodes]``.
    """
    from envs.make import make_envs

    (env,) = make_envs(id, 1, preset=preset, kwargs=kwargs, vectorization="sync")  # type: ignore[misc]
    found = np.zeros(episodes)
    for k in range(episodes):
        obs, info = env.reset(seed=seed + k)
        play, over = make_policy(policy, env, seed + k), False
        while not over:
            obs, reward, terminated, truncated, info = env.step(play(obs, info))
            found[k] += float(reward)
            over = terminated or truncated
    env.close()
    return found


def measured(id: str, reference: Reference, seed: int = 10_000, preset: str | None = None) -> float:
    """Return the mean return of ``reference`` over its number of episodes."""
    return float(returns(id, reference.policy, reference.episodes, seed, preset).mean())
