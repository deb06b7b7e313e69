"""``rlcore bench envs``: every family against its peer and against what it should reach."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.bench.harness import Row, Side, against, compare, table

MEASURES = "experiments.bench.env_measures"
SECONDS = 2.0

Say = Callable[[str], None]
Keep = Callable[[list[Row]], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """What one environment is measured by.

    Attributes:
        id: Gymnasium id.
        num_envs: Environments of the vector form.
        peer: ``plain`` (a loop over one environment) or ``gymnasium`` (its ``SyncVectorEnv``).
        target: Steps per second of the vector form on one machine of two cores; None for none.
        kwargs: Passed to the environment.
    """

    id: str
    num_envs: int
    peer: str
    target: float | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


NUMBA = {"backend": "numba"}

SPEEDS = (
    Speed("subtasks/rooms-v0", 1024, "plain", 3e6, NUMBA),
    Speed("subtasks/rooms-two-doors-v0", 1024, "plain", None, NUMBA),
    Speed("subtasks/grid-rooms-v0", 1024, "plain"),
    Speed("subtasks/f110-turn-v0", 256, "plain", 1e5, {"n_rays": 109, **NUMBA}),
    Speed("dynamics/ks-v0", 64, "gymnasium", 2e4),
    Speed("dynamics/burgers-v0", 64, "gymnasium"),
    Speed("dynamics/lorenz-v0", 4096, "gymnasium", 5e6, NUMBA),
    Speed("dynamics/vanderpol-v0", 4096, "gymnasium", 5e6, NUMBA),
    Speed("dynamics/pendulum-v0", 4096, "gymnasium"),
    Speed("dynamics/cartpole-swingup-v0", 4096, "gymnasium"),
    Speed("text/twenty-questions-v0", 1024, "plain", 1e5),
    Speed("text/guess-my-city-v0", 1024, "plain"),
    Speed("text/wordle-v0", 1024, "plain", 1e5),
    Speed("text/adventure-v0", 256, "plain"),
    Speed("text/shop-v0", 256, "plain"),
    Speed("text/maze-v0", 1024, "plain"),
    Speed("memory/t-maze-v0", 1024, "gymnasium"),
    Speed("memory/key-door-v0", 1024, "gymnasium"),
    Speed("labyrinth/random-v0", 64, "gymnasium", 2e4),
    Speed("finray/rom-v0", 256, "gymnasium"),
)
"""The rows of environments; the targets are those that the catalogue promises."""

TASKS = (("CountdownTask", 2e5), ("SudokuTask", 5e5))
PEERS_OF_LABYRINTH = ("vizdoom", "miniworld")
NAMES = {"plain": "loop over one environment", "gymnasium": "gymnasium SyncVectorEnv"}


def envs(repeats: int, say: Say, only: str = "", keep: Keep = lambda rows: None) -> list[Row]:
    """Compare the environments with plain loops and other packages, then with their targets."""
    rows: list[Row] = []
    for key, measure in plan(repeats).items():
        if only in key:
            say(f"{key} ...")
            rows.append(measure())
            say(table(rows[-1:]))
            keep(rows)
    return rows


def plan(repeats: int) -> dict[str, Callable[[], Row]]:
    """Return what measures each row, by a key that ``--only`` looks into."""
    rows: dict[str, Callable[[], Row]] = {}
    for speed in SPEEDS:
        rows |= _of_environment(speed, repeats)
    for task, target in TASKS:
        rows |= _of_task(task, target, repeats)
    for package in PEERS_OF_LABYRINTH:
        if importlib.util.find_spec(package) is not None:
            rows[f"labyrinth/{package}"] = _of_package(package, repeats)
    for dtype, target in (("float64", 45e6), ("float32", 70e6)):
        rows |= _of_lattice(dtype, target, repeats)
    return rows


def _side(name: str, measure: str, **arguments: Any) -> Side:
    return Side(name, f"{MEASURES}:{measure}", {"seconds": SECONDS, **arguments})


def _rows(
    key: str, metric: str, unit: str, sides: tuple[Side, Side], target: float | None, repeats: int
) -> dict[str, Callable[[], Row]]:
    ours, peer = sides
    found = {f"{key}/peer": lambda: compare(metric, unit, ours, peer, repeats)}
    if target is not None:
        found[f"{key}/target"] = lambda: against(metric, unit, ours, target, repeats)
    return found


def _of_environment(speed: Speed, repeats: int) -> dict[str, Callable[[], Row]]:
    common = {"id": speed.id, "kwargs": dict(speed.kwargs), "num_envs": speed.num_envs}
    backend = speed.kwargs.get("backend", "")
    name = ", ".join(filter(None, (f"vector form, {speed.num_envs}", backend)))
    ours = _side(name, "env_steps", form="vector", **common)
    peer = _side(NAMES[speed.peer], "env_steps", form=speed.peer, **common)
    found = _rows(speed.id, speed.id, "steps/s", (ours, peer), speed.target, repeats)
    if backend and speed.peer == "plain":  # what somebody writes who says nothing of backends
        plain = {"kwargs": {k: v for k, v in speed.kwargs.items() if k != "backend"}}
        name = f"{NAMES[speed.peer]}, numpy"
        other = _side(name, "env_steps", form=speed.peer, **(common | plain))
        found[f"{speed.id}/peer-numpy"] = lambda: compare(speed.id, "steps/s", ours, other, repeats)
    return found


def _of_task(task: str, target: float, repeats: int) -> dict[str, Callable[[], Row]]:
    ours = _side(f"{task}.rewards", "task_rewards", task=task)
    peer = _side(f"{task}.reward in a loop", "task_rewards", task=task, batched=False)
    key = f"reasoning/{task}"
    return _rows(key, f"{task} rewards", "completions/s", (ours, peer), target, repeats)


def _of_lattice(dtype: str, target: float, repeats: int) -> dict[str, Callable[[], Row]]:
    ours = _side(f"numba, {dtype}, one core", "lattice_updates", dtype=dtype)
    peer = _side("whole NumPy arrays", "lattice_updates", dtype=dtype, fast=False)
    key, metric = f"finray/lattice-{dtype}", f"fin ray, cell updates in {dtype}"
    return _rows(key, metric, "cells/s", (ours, peer), target, repeats)


def _of_package(package: str, repeats: int) -> Callable[[], Row]:
    arguments = {"id": "labyrinth/random-v0", "form": "vector", "num_envs": 64}
    ours = _side("vector form, 64", "env_steps", **arguments)
    peer = _side(package, "peer_frames", package=package)
    return lambda: compare(f"labyrinth vs {package}", "frames/s", ours, peer, repeats)
