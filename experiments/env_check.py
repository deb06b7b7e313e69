"""Does an environment keep its contract? The checks behind ``rlcore env``."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from experiments.env_check_texts import check_texts, plays_texts
from experiments.findings import Finding
from rlcore.errors import ConfigError, EnvContractError, RlcoreError
from rlcore.runtime.env_state import EnvStateUnavailable
from rlcore.runtime.env_stream import EnvStream, StepRow, open_stream

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def list_envs(prefix: str = "") -> list[str]:
    """Return the ids that start with ``prefix``: Gymnasium's, ours, and Atari's if installed."""
    import gymnasium

    import envs  # noqa: F401 - registers the testing environments
    from envs.presets import register_atari
    from rlcore.errors import MissingDependencyError

    try:
        register_atari()
    except MissingDependencyError:
        pass  # listed only where it can be made
    return sorted(env_id for env_id in gymnasium.registry if env_id.startswith(prefix))


def env_rows(prefix: str = "", cost: str = "") -> list[dict[str, Any]]:
    """Return ``id``, ``family``, ``cost`` and ``summary`` of each environment that can be named.

    Args:
        prefix: Only ids that start with it.
        cost: Only this package's of one cost class.

    Raises:
        ConfigError: There is no such cost class.
    """
    from envs.catalogue import entries

    try:
        ours = {entry.id: entry for entry in entries(cost=cost or None)}  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    rows = []
    for id in list_envs(prefix):
        if entry := ours.get(id):
            family = id.partition("/")[0]
            rows.append({"id": id, "family": family, "cost": entry.cost, "summary": entry.summary})
        elif not cost:
            rows.append({"id": id, "family": None, "cost": None, "summary": ""})
    return rows


def check_env(
    id: str,
    *,
    num_envs: int = 2,
    steps: int = 300,
    seed: int = 0,
    seconds: float = 0.5,
    **options: Any,
) -> list[Finding]:
    """Make the environment in every form it has and look for faults.

    Args:
        id: Gymnasium id.
        num_envs: Environments of a stream.
        steps: Steps of each trial.
        seed: Of the actions and the environments.
        seconds: How long the speed is measured.
        **options: As for :func:`envs.make.make_envs` (``preset``, ``kwargs``, ``wrappers``, ...).

    Returns:
        One finding a check and form.

    Raises:
        ConfigError: The environment cannot be made as asked.
    """
    from envs.make import make_envs

    options.pop("evaluation", None)
    wanted = options.pop("vectorization", "auto")
    findings = list(_gymnasium_checker(id, options)) if wanted != "native" else []
    forms = ("auto", "sync") if wanted == "auto" else (wanted,)
    seen = set()
    if wanted != "native" and plays_texts(id, options):
        return findings + check_texts(id, options, steps, seed)
    for form in forms:

        def opened(form: str = form) -> EnvStream:
            return open_stream(make_envs(id, num_envs, vectorization=form, **options), env_id=id)

        probe = opened()
        kind = type(probe).__name__
        probe.close()
        if kind not in seen:
            seen.add(kind)
            findings += _check_form(opened, steps, seed, seconds)
    return findings


def _check_form(
    opened: Callable[[], EnvStream], steps: int, seed: int, seconds: float
) -> Iterator[Finding]:
    stream = opened()
    name = "native" if type(stream).__name__ == "NativeStream" else "sync"
    yield _spaces(name, stream)
    stream.close()
    for check, function in (
        ("contract and seeding", _contract),
        ("repeatability", _repeatable),
        ("autoreset", _autoreset),
        ("state round trip", _round_trip),
        ("speed", partial(_speed, seconds)),
    ):
        try:
            level, message = function(opened, steps, seed)
        except EnvStateUnavailable as error:
            level, message = "warning", str(error)
        except RlcoreError as error:
            level, message = "error", str(error)
        # Whatever else the environment raises is a finding as well, not a failure of the check.
        except Exception as error:
            level, message = "error", f"{type(error).__name__}: {error}"
        yield Finding(f"{name}: {check}", level, message)


def _spaces(name: str, stream: EnvStream) -> Finding:
    spec = stream.spec
    message = (
        f"observations {spec.obs_shape} {spec.obs_dtype}, actions {spec.actions}, "
        f"autoreset {stream.autoreset}, time limit {spec.max_episode_steps}"
    )
    return Finding(f"{name}: spaces", "ok", message)


def _gymnasium_checker(id: str, options: Mapping[str, Any]) -> Iterator[Finding]:
    from gymnasium.utils.env_checker import check_env as gymnasium_check

    from envs.make import make_envs

    (env,) = make_envs(id, 1, vectorization="sync", **options)  # type: ignore[misc]
    name = "gymnasium checker"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            gymnasium_check(env.unwrapped, skip_render_check=True)
        # The checker reports by assertion, and whatever the environment raises is a finding too.
        except Exception as error:
            yield Finding(name, "error", f"{type(error).__name__}: {error}")
            return
        finally:
            env.close()
    texts = {_COLOUR.sub("", " ".join(str(one.message).split())) for one in caught}
    for text in sorted(texts):
        yield Finding(name, "warning", text)
    if not texts:
        yield Finding(name, "ok", "nothing found")


def new_row(stream: EnvStream) -> StepRow:
    """Return a row for ``stream`` with arrays of its own."""
    envs, spec = stream.num_envs, stream.spec
    return StepRow(
        obs=np.zeros((envs, *spec.obs_shape), spec.obs_dtype),
        first=np.zeros(envs, bool),
        reward=np.zeros(envs, np.float32),
        terminated=np.zeros(envs, bool),
        truncated=np.zeros(envs, bool),
        valid=np.zeros(envs, bool),
        episode_return=np.zeros(envs, np.float32),
        episode_length=np.zeros(envs, np.int32),
    )


def _actions(stream: EnvStream, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    actions = stream.spec.actions
    if hasattr(actions, "n"):
        return rng.integers(0, actions.n, stream.num_envs)
    return rng.normal(size=(stream.num_envs, *actions.shape)).astype(np.float32)


def _start(opened: Callable[[], EnvStream], seed: int) -> tuple[EnvStream, StepRow]:
    stream = opened()
    row = new_row(stream)
    stream.reset([seed + 1 + index for index in range(stream.num_envs)], row.obs, row.first)
    return stream, row


def _play(stream: EnvStream, row: StepRow, rng: np.random.Generator, steps: int) -> list[bytes]:
    trace = []
    for _ in range(steps):
        finals = stream.step(_actions(stream, rng), row)
        parts = [getattr(row, name).tobytes() for name in StepRow.__slots__]
        trace.append(b"".join(parts + [obs.tobytes() for _, obs in finals]))
    return trace


def _contract(opened: Callable[[], EnvStream], steps: int, seed: int) -> tuple[str, str]:
    stream, row = _start(opened, seed)
    _play(stream, row, np.random.default_rng(seed), steps)
    stream.close()
    return "ok", f"{steps} steps within the spaces, finite, seeded"


def _repeatable(opened: Callable[[], EnvStream], steps: int, seed: int) -> tuple[str, str]:
    traces = []
    for _ in range(2):
        stream, row = _start(opened, seed)
        traces.append(_play(stream, row, np.random.default_rng(seed), steps))
        stream.close()
    for step, (one, other) in enumerate(zip(*traces, strict=True), start=1):
        if one != other:
            raise EnvContractError(
                f"equal seeds and actions part at step {step}; draw from self.np_random only"
            )
    return "ok", f"{steps} steps repeated exactly"


def _autoreset(opened: Callable[[], EnvStream], steps: int, seed: int) -> tuple[str, str]:
    """Hold the stream's own books against the rewards and lengths that it reports."""
    stream, row = _start(opened, seed)
    rng = np.random.default_rng(seed)
    returns, lengths = np.zeros(stream.num_envs), np.zeros(stream.num_envs, np.int64)
    episodes = 0
    for step in range(1, steps + 1):
        stream.step(_actions(stream, rng), row)
        returns += row.reward
        lengths += row.valid
        done = row.terminated | row.truncated
        booked = np.where(done, returns, 0), np.where(done, lengths, 0)
        close = np.allclose(booked[0], row.episode_return, rtol=1e-4, atol=1e-4)
        if not close or (booked[1] != row.episode_length).any():
            raise EnvContractError(f"episode return or length is wrong at step {step}")
        returns[done], lengths[done] = 0, 0
        episodes += int(done.sum())
    stream.close()
    if not episodes:
        return "warning", f"no episode ended in {steps} steps; ask for more steps to test the end"
    return "ok", f"{episodes} episodes ended, returns and lengths add up"


def _round_trip(opened: Callable[[], EnvStream], steps: int, seed: int) -> tuple[str, str]:
    stream, row = _start(opened, seed)
    _play(stream, row, np.random.default_rng(seed), steps // 3)
    state = stream.get_state()
    wanted = _play(stream, row, np.random.default_rng(seed + 1), steps)
    stream.close()
    fresh = opened()
    fresh.set_state(state)
    found = _play(fresh, new_row(fresh), np.random.default_rng(seed + 1), steps)
    fresh.close()
    for step, (one, other) in enumerate(zip(wanted, found, strict=True), start=1):
        if one != other:
            return "warning", (
                f"a restored environment parts from the original after {step} steps, so a resumed "
                "run is not exact; give it get_state() and set_state(state)"
            )
    return "ok", f"{steps} steps after a restore repeat exactly"


def _speed(
    seconds: float, opened: Callable[[], EnvStream], steps: int, seed: int
) -> tuple[str, str]:
    stream, row = _start(opened, seed)
    actions = _actions(stream, np.random.default_rng(seed))
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        stream.step(actions, row)
        count += stream.num_envs
    stream.close()
    return "ok", f"{count / max(elapsed, 1e-9):,.0f} steps/s with {stream.num_envs} environments"
