"""Checks of environments that speak in texts; no fragment of arrays carries those."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envs.testing.traces import difference, go_on, play, record
from experiments.findings import Finding
from rlcore.runtime.env_state import EnvStateUnavailable, capture, restore

Make = Callable[[], Any]


def plays_texts(id: str, options: Mapping[str, Any]) -> bool:
    """Return whether the observations or the actions of an environment are texts."""
    from gymnasium.spaces import Text

    env = _make(id, options)
    found = isinstance(env.observation_space, Text) or isinstance(env.action_space, Text)
    env.close()
    return found


def _make(id: str, options: Mapping[str, Any]) -> Any:
    from envs.make import make_envs

    return make_envs(id, 1, vectorization="sync", **options)[0]  # type: ignore[index]


def check_texts(id: str, options: Mapping[str, Any], steps: int, seed: int) -> list[Finding]:
    """Play an environment of texts and look for faults.

    Its actions are those of the policies that its entry in the catalogue names, or random ones.

    Args:
        id: Gymnasium id.
        options: As for :func:`envs.make.make_envs`.
        steps: Of each trial.
        seed: Of the environment and the actions.

    Returns:
        One finding a check.
    """

    def make() -> Any:
        return _make(id, options)

    env = make()
    spaces = f"observations {_words(env.observation_space)}, actions {_words(env.action_space)}"
    findings = [Finding("texts: spaces", "ok", spaces)]
    actions = _actions(env, id, steps, seed)
    for name, check in (
        ("contract", _contract),
        ("repeatability", _repeatable),
        ("state round trip", _round_trip),
        ("speed", _speed),
    ):
        try:
            level, message = check(make, actions, seed)
        except EnvStateUnavailable as error:
            level, message = "warning", str(error)
        # Whatever the environment raises is a finding, not a failure of the check.
        except Exception as error:
            level, message = "error", f"{type(error).__name__}: {error}"
        findings.append(Finding(f"texts: {name}", level, message))
    return findings


def _words(space: Any) -> str:
    """Return a space in a few words; the whole character set of a text is too much to print."""
    if not hasattr(space, "character_set"):
        return str(space)
    letters = len(space.character_set)
    return f"of {space.min_length} to {space.max_length} characters out of {letters}"


def _actions(env: Any, id: str, steps: int, seed: int) -> list[Any]:
    try:
        return record(env, id, steps, seed)
    except KeyError:  # not in our catalogue
        env.action_space.seed(seed)
        return [env.action_space.sample() for _ in range(steps)]


def _contract(make: Make, actions: Sequence[Any], seed: int) -> tuple[str, str]:
    env = make()
    trace = play(env, actions, seed)
    for step, (obs, *_) in enumerate(trace):
        if not env.observation_space.contains(obs):
            return "error", f"observation {step} is outside its space: {obs!r:.80}"
    episodes = sum(bool(terminated or truncated) for _, _, terminated, truncated, _ in trace)
    return "ok", f"{len(actions)} steps within the spaces, {episodes} episodes ended"


def _repeatable(make: Make, actions: Sequence[Any], seed: int) -> tuple[str, str]:
    apart = difference(play(make(), actions, seed), play(make(), actions, seed))
    if apart:
        return "error", f"equal seeds and actions part, {apart[:200]}"
    return "ok", f"{len(actions)} steps repeated exactly"


def _round_trip(make: Make, actions: Sequence[Any], seed: int) -> tuple[str, str]:
    env = make()
    half = len(actions) // 2
    last = play(env, actions[:half], seed)[-1]
    over = bool(last[2] or last[3])
    state = capture(env, "environment")
    wanted = go_on(env, actions[half:], over)
    fresh = make()
    fresh.reset(seed=seed + 1)
    restore(fresh, state, "environment")
    apart = difference(wanted, go_on(fresh, actions[half:], over))
    if apart:
        return "warning", f"a restored environment parts from the original, {apart[:200]}"
    return "ok", f"{len(actions) - half} steps after a restore repeat exactly"


def _speed(make: Make, actions: Sequence[Any], seed: int) -> tuple[str, str]:
    started = time.perf_counter()
    play(make(), actions, seed)
    rate = len(actions) / (time.perf_counter() - started)
    return "ok", f"{rate:,.0f} turns/s of one environment"
