"""The catalogue: every family's entries, and their registration with Gymnasium."""

from __future__ import annotations

import importlib
import typing

from envs.core.entry import Cost, Entry

FAMILIES = (
    "testing",
    "dynamics",
    "reasoning",
    "subtasks",
    "text",
    "labyrinth",
    "memory",
    "finray",
)


def entries(family: str | None = None, cost: Cost | None = None) -> tuple[Entry, ...]:
    """Return the entries of one family or all, of one cost or any.

    Raises:
        ValueError: There is no such family or cost.
    """
    costs = typing.get_args(Cost)
    if cost is not None and cost not in costs:
        raise ValueError(f"no cost {cost!r}; there are: {', '.join(costs)}")
    if family is not None and family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are: {', '.join(FAMILIES)}")
    names = FAMILIES if family is None else (family,)
    found = [e for name in names for e in importlib.import_module(f"envs.{name}.entries").ENTRIES]
    return tuple(entry for entry in found if cost is None or entry.cost == cost)


def entry(id: str) -> Entry:
    """Return the entry of a Gymnasium id.

    Raises:
        KeyError: It is not one of ours.
    """
    found = {entry.id: entry for entry in entries()}
    if id not in found:
        raise KeyError(f"{id!r} is not an environment of this package")
    return found[id]


def register_all() -> None:
    """Register each environment that Gymnasium does not know yet."""
    import gymnasium

    for entry in entries():
        if entry.id not in gymnasium.registry:
            gymnasium.register(
                entry.id,
                entry_point=entry.entry_point,
                vector_entry_point=entry.vector_entry_point,
                max_episode_steps=entry.max_episode_steps,
                kwargs=dict(entry.kwargs),
            )
