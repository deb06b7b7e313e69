"""Record what an environment does, and compare two recordings bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.catalogue import entry as entry_of
from envs.references import RANDOM, make_policy

Step = tuple[Any, ...]
"""``(obs, reward, terminated, truncated, info)``; a reset has reward None."""


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Return whether two observations, infos or steps are equal: types, shapes and every bit.

    Args:
        one: Any nesting of dicts, tuples, lists, arrays, strings and numbers.
        other: The same.
        tolerance: Relative and absolute difference that floating-point numbers may have.
    """
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key], tolerance) for key in one)
        )
    if isinstance(one, (tuple, list)):
        return (
            isinstance(other, type(one))
            and len(one) == len(other)
            and all(same(a, b, tolerance) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, np.ndarray) and one.dtype == object:
        return isinstance(other, np.ndarray) and same(one.tolist(), other.tolist(), tolerance)
    if isinstance(one, (np.ndarray, np.generic, float)):
        return _equal(np.asarray(one), np.asarray(other), tolerance)
    return type(one) is type(other) and bool(one == other)


def _equal(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if tolerance and one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))
    return one.tobytes() == other.tobytes()


def difference(one: Sequence[Any], other: Sequence[Any], tolerance: float = 0.0) -> str:
    """Return where two traces part, or nothing if they do not."""
    for k, (a, b) in enumerate(zip(one, other, strict=False)):
        if not same(a, b, tolerance):
            return f"step {k}: {a!r} against {b!r}"
    return "" if len(one) == len(other) else f"{len(one)} steps against {len(other)}"


def digest(trace: Any) -> str:
    """Return a text that tells traces apart, the same in every process."""
    mill = hashlib.sha256()
    _feed(mill.update, trace)
    return mill.hexdigest()


def _feed(update: Callable[[bytes], None], node: Any) -> None:
    update(type(node).__name__.encode())
    if isinstance(node, dict):
        for key in sorted(node):
            update(str(key).encode())
            _feed(update, node[key])
    elif isinstance(node, (tuple, list)):
        for item in node:
            _feed(update, item)
    elif isinstance(node, np.ndarray) and node.dtype == object:
        _feed(update, node.tolist())
    elif isinstance(node, (np.ndarray, np.generic)):
        update(str(node.dtype).encode() + str(node.shape).encode() + node.tobytes())
    else:
        update(repr(node).encode())


def record(env: Any, id: str, steps: int, seed: int = 0) -> list[Any]:
    """Return the actions of ``steps`` steps: some random, some of the entry's own policies.

    Args:
        env: The environment, with or without wrappers; it is played.
        id: Its id, for the policies.
        steps: How many actions.
        seed: Of the environment, the random actions and the mixture.
    """
    names = [reference.policy for reference in entry_of(id).references]
    known = [name for name in names if name != RANDOM]
    rng = np.random.default_rng(seed)
    actions: list[Any] = []
    random, good, over = make_policy(RANDOM, env, seed), None, True
    obs: Any = None
    info: dict[str, Any] = {}
    while len(actions) < steps:
        if over:
            obs, info = env.reset(seed=seed if not actions else None)
            name = known[int(rng.integers(len(known)))] if known else RANDOM
            good, over = make_policy(name, env, seed), False
        assert good is not None
        wise, wild = good(obs, info), random(obs, info)  # a policy may want to see every step
        action = wise if rng.random() < 0.7 else wild
        actions.append(action)
        obs, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    return actions


def play(env: Any, actions: Sequence[Any], seed: int | None = None) -> list[Step]:
    """Reset with ``seed``, take ``actions``, reset after each end, and return every step."""
    obs, info = env.reset(seed=seed)
    return [(obs, None, False, False, info), *go_on(env, actions)]


def go_on(env: Any, actions: Sequence[Any], over: bool = False) -> list[Step]:
    """Take ``actions`` from where the environment is, resetting after each end.

    Args:
        env: The environment.
        actions: In order; a reset uses none up.
        over: Whether the running episode has ended already.
    """
    steps: list[Step] = []
    for action in actions:
        if over:
            obs, info = env.reset()
            steps.append((obs, None, False, False, info))
        steps.append(env.step(action))
        over = bool(steps[-1][2] or steps[-1][3])
    return steps


def row(batch: Any, k: int) -> Any:
    """Return what environment ``k`` has in a batched observation or action."""
    if isinstance(batch, dict):
        return {name: row(part, k) for name, part in batch.items()}
    if isinstance(batch, tuple) and batch and isinstance(batch[0], np.ndarray):
        return tuple(row(part, k) for part in batch)
    return batch[k]


def row_info(infos: dict[str, Any], k: int) -> dict[str, Any]:
    """Return the info of environment ``k``: the names whose mask says that they are real there."""
    found = {}
    for name, values in infos.items():
        if not name.startswith("_") and infos[f"_{name}"][k]:
            value = row_info(values, k) if isinstance(values, dict) else values[k]
            found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def batched(actions: Sequence[Any]) -> Any:
    """Return one action for each environment as a vector environment takes them."""
    if isinstance(actions[0], str):
        return tuple(actions)
    return np.stack([np.asarray(action) for action in actions])
