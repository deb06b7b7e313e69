"""The rules of the text adventure: its state, what is told of it, and what commands do."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from envs.text.adventure_world import ALTAR, DIRECTIONS, World
from envs.text.letters import plain

UNKNOWN = "I do not understand that."
HELD = "held"
Command = tuple[str, str]
"""Verb and rest."""
NOTHING: Command = ("", "")
_SHORT = {"n": "go north", "s": "go south", "e": "go east", "w": "go west"} | {
    "i": "inventory",
    "inv": "inventory",
    "l": "look",
    "x": "examine",
}


class Progress(NamedTuple):
    """What changes in an adventure.

    Attributes:
        room: Where the player is.
        unlocked: Numbers of the locks that are unlocked.
        opened: Numbers of those that are also open.
        items: Where each item is: ``held``, ``room:3``, ``box:chest`` or ``altar``.
        scored: Goals that have been scored.
    """

    room: int
    unlocked: frozenset[int]
    opened: frozenset[int]
    items: tuple[tuple[str, str], ...]
    scored: frozenset[int]

    @classmethod
    def of(cls, plain: tuple[Any, ...]) -> Progress:
        """Return the progress that ``plain`` gave."""
        room, unlocked, opened, items, scored = plain
        pairs = tuple((item, where) for item, where in items)
        return cls(room, frozenset(unlocked), frozenset(opened), pairs, frozenset(scored))

    def plain(self) -> tuple[Any, ...]:
        """Return the same as tuples, numbers and texts, as it is saved."""
        sets = (tuple(sorted(s)) for s in (self.unlocked, self.opened, self.scored))
        unlocked, opened, scored = sets
        return (self.room, unlocked, opened, self.items, scored)

    def where(self, item: str) -> str | None:
        """Return where an item is, or None if there is none of that name."""
        for name, where in self.items:
            if name == item:
                return where
        return None

    def moved(self, item: str, where: str) -> Progress:
        """Return the progress with an item elsewhere."""
        return self._replace(items=tuple((n, where if n == item else w) for n, w in self.items))


def start_of(world: World) -> Progress:
    """Return the progress at the start."""
    none: frozenset[int] = frozenset()
    return Progress(world.start, none, none, tuple(world.items.items()), none)


def describe(world: World, progress: Progress, actions: Sequence[str] | None = None) -> str:
    """Return room, things, inventory and the commands that can be obeyed.

    Args:
        world: The world.
        progress: Its state.
        actions: What :func:`valid_actions` says of them, where it is known already.
    """
    actions = valid_actions(world, progress) if actions is None else actions
    room = progress.room
    lines = [f"You are in the {world.rooms[room]}."]
    ways = []
    for way, exit_ in world.exits[room].items():
        shut = exit_.door >= 0 and exit_.door not in progress.opened
        ways.append(f"{way} ({world.locks[exit_.door].name}, closed)" if shut else way)
    lines.append(f"Exits: {', '.join(ways)}.")
    here = f"room:{room}"
    seen = [f"a {item}" for item, where in progress.items if where == here]
    if room == world.altar:
        seen.append(f"an {ALTAR}")
    for k, lock in enumerate(world.locks):
        if room in lock.rooms and not lock.is_door:
            inside = [item for item, where in progress.items if where == f"box:{lock.name}"]
            content = f"with {', '.join(inside)}" if inside else "empty"
            seen.append(f"a {lock.name} ({content if k in progress.opened else 'closed'})")
    lines.append(f"You see {', '.join(seen)}." if seen else "You see nothing special.")
    held = [item for item, where in progress.items if where == HELD]
    lines.append(f"You carry {', '.join(held)}." if held else "You carry nothing.")
    lines.append(f"You can: {'; '.join(actions)}.")
    return "\n".join(lines)


def valid_actions(world: World, progress: Progress) -> list[str]:
    """Return the commands that would change something, in a fixed order."""
    room, found = progress.room, []
    for way, exit_ in world.exits[room].items():
        if exit_.door < 0 or exit_.door in progress.opened:
            found.append(f"go {way}")
    held = [item for item, where in progress.items if where == HELD]
    near = _near(world, progress)
    found += [f"take {item}" for item, where in progress.items if where in near]
    for k, lock in enumerate(world.locks):
        if room not in lock.rooms:
            continue
        if k not in progress.unlocked and lock.key in held:
            found.append(f"unlock {lock.name} with {lock.key}")
        elif k in progress.unlocked and k not in progress.opened:
            found.append(f"open {lock.name}")
        elif k in progress.opened and not lock.is_door:
            found += [f"put {item} in {lock.name}" for item in held]
    if room == world.altar:
        found += [f"put {item} on {ALTAR}" for item in held]
    return found + [f"drop {item}" for item in held]


def _near(world: World, progress: Progress) -> set[str]:
    """Return from which places a player can take things."""
    room = progress.room
    near = {f"room:{room}", ALTAR} if room == world.altar else {f"room:{room}"}
    for k in progress.opened:
        lock = world.locks[k]
        if room in lock.rooms and not lock.is_door:
            near.add(f"box:{lock.name}")
    return near


def obey(world: World, progress: Progress, command: str) -> tuple[Progress, str]:
    """Return the progress after a command and what is said to it."""
    return act(world, progress, read(command))


def act(world: World, progress: Progress, command: Command) -> tuple[Progress, str]:
    """Return the same for a command that has been read."""
    verb, rest = command
    if verb not in _VERBS:
        return progress, UNKNOWN
    return _VERBS[verb](world, progress, rest)


@functools.lru_cache(4096)
def read(text: str) -> Command:
    """Return verb and rest of a command without abbreviations and articles."""
    words = (plain(text, len(text)) or "").rstrip(".!").split()
    if words and words[0] in _SHORT:
        words = _SHORT[words[0]].split() + words[1:]
    if len(words) == 1 and words[0] in DIRECTIONS:
        words = ["go", *words]
    if not words:
        return NOTHING
    verb = {"get": "take", "walk": "go", "inspect": "examine"}.get(words[0], words[0])
    return (verb, " ".join(w for w in words[1:] if w != "the")) if verb in _VERBS else NOTHING


def _go(world: World, progress: Progress, way: str) -> tuple[Progress, str]:
    exit_ = world.exits[progress.room].get(way)
    if exit_ is None:
        return progress, "You cannot go that way."
    if exit_.door >= 0 and exit_.door not in progress.opened:
        return progress, f"The {world.locks[exit_.door].name} is closed."
    return progress._replace(room=exit_.to), f"You go {way}."


def _take(world: World, progress: Progress, item: str) -> tuple[Progress, str]:
    where = progress.where(item)
    if where == HELD:
        return progress, "You have it already."
    if where not in _near(world, progress):
        return progress, "You see no such thing."
    return progress.moved(item, HELD), f"You take the {item}."


def _drop(world: World, progress: Progress, item: str) -> tuple[Progress, str]:
    if progress.where(item) != HELD:
        return progress, "You do not have that."
    return progress.moved(item, f"room:{progress.room}"), f"You drop the {item}."


def _lock(world: World, progress: Progress, name: str) -> int | None:
    for k, lock in enumerate(world.locks):
        if lock.name == name and progress.room in lock.rooms:
            return k
    return None


def _unlock(world: World, progress: Progress, rest: str) -> tuple[Progress, str]:
    name, with_, key = rest.partition(" with ")
    number = _lock(world, progress, name)
    if number is None:
        return progress, "You see no such thing."
    if not with_ or progress.where(key) != HELD:
        return progress, "You need a key that you carry."
    if key != world.locks[number].key:
        return progress, "It does not fit."
    if number in progress.unlocked:
        return progress, "It is unlocked already."
    return progress._replace(unlocked=progress.unlocked | {number}), f"You unlock the {name}."


def _open(world: World, progress: Progress, name: str) -> tuple[Progress, str]:
    number = _lock(world, progress, name)
    if number is None:
        return progress, "You see no such thing."
    if number not in progress.unlocked:
        return progress, f"The {name} is locked."
    if number in progress.opened:
        return progress, "It is open already."
    opened, scored = progress.opened | {number}, progress.scored | {number}
    return progress._replace(opened=opened, scored=scored), f"You open the {name}."


def _put(world: World, progress: Progress, rest: str) -> tuple[Progress, str]:
    item, _, target = re.sub(r" (?:into|in|on|onto) ", "\n", rest, count=1).partition("\n")
    if progress.where(item) != HELD:
        return progress, "You do not have that."
    if target == ALTAR and progress.room == world.altar:
        moved = progress.moved(item, ALTAR)
        if item == world.treasure:
            moved = moved._replace(scored=moved.scored | {world.depth - 1})
        return moved, f"You put the {item} on the {ALTAR}."
    number = _lock(world, progress, target)
    if number is None or world.locks[number].is_door:
        return progress, "You see no such thing."
    if number not in progress.opened:
        return progress, f"The {target} is closed."
    return progress.moved(item, f"box:{target}"), f"You put the {item} in the {target}."


def _examine(world: World, progress: Progress, name: str) -> tuple[Progress, str]:
    number = _lock(world, progress, name)
    if number is not None:
        shut = "open" if number in progress.opened else "closed"
        return progress, f"The {name} is {shut}. It takes the {world.locks[number].key}."
    if progress.where(name) in _near(world, progress) | {HELD}:
        return progress, f"It is a {name}."
    if name == ALTAR and progress.room == world.altar:
        return progress, f"The {world.treasure} belongs here."
    return progress, "You see no such thing."


def _look(world: World, progress: Progress, rest: str) -> tuple[Progress, str]:
    return progress, "You look around."


def _inventory(world: World, progress: Progress, rest: str) -> tuple[Progress, str]:
    return progress, "You look at what you carry."


_VERBS: dict[str, Callable[[World, Progress, str], tuple[Progress, str]]] = {
    "go": _go,
    "take": _take,
    "drop": _drop,
    "unlock": _unlock,
    "open": _open,
    "put": _put,
    "examine": _examine,
    "look": _look,
    "inventory": _inventory,
}
