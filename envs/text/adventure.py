"""A text adventure: fetch keys, open locks, bring the treasure to the altar."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.core import State, check_integer
from envs.text.adventure_world import ALTAR, DIRECTIONS, World, make_world
from envs.text.forms import TextEnv, TextVectorEnv
from envs.text.letters import plain
from envs.text.model import TextModel, Turn, objects

UNKNOWN = "I do not understand that."
HELD = "held"
_SHORT = {"n": "go north", "s": "go south", "e": "go east", "w": "go west"} | {
    "i": "inventory",
    "inv": "inventory",
    "l": "look",
    "x": "examine",
}


@dataclass(frozen=True, slots=True)
class Progress:
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
        """Return the same as tuples, numbers and texts, as it is kept in the state."""
        sets = (tuple(sorted(s)) for s in (self.unlocked, self.opened, self.scored))
        unlocked, opened, scored = sets
        return (self.room, unlocked, opened, self.items, scored)

    def where(self, item: str) -> str | None:
        """Return where an item is, or None if there is none of that name."""
        return dict(self.items).get(item)

    def moved(self, item: str, where: str) -> Progress:
        """Return the progress with an item elsewhere."""
        return replace(self, items=tuple((n, where if n == item else w) for n, w in self.items))


class Adventure(TextModel):
    """A world of rooms, locked doors and boxes, drawn for each episode and proved solvable.

    Opening each lock of the quest scores 1 and putting the treasure on the altar scores 1 and ends
    the game; the greatest return is ``depth``. Verbs: go, take, drop, open, unlock (with), put (in,
    on), examine, inventory, look. Time limit 60.

    Args:
        depth: Goals of the quest, 2-12.
        distractors: Things of no use, 0-10.

    Raises:
        ValueError: An argument is out of range.
    """

    id = "text/adventure-v0"
    max_action = 80
    max_reply = 3000

    def __init__(self, depth: int = 4, distractors: int = 3) -> None:
        super().__init__()
        self.depth = check_integer(self.id, "depth", depth, 2, 12)
        self.distractors = check_integer(self.id, "distractors", distractors, 0, 10)

    def deal(self, rngs: Sequence[np.random.Generator], options: dict[str, Any]) -> State:
        """Draw a world for each game."""
        if options:
            raise ValueError(f"{self.id}: there are no options, got {sorted(options)}")
        seeds = np.array([int(rng.integers(1 << 31)) for rng in rngs], np.int64)
        starts = [start_of(self.world(seed)).plain() for seed in seeds.tolist()]
        return {"world": seeds, "progress": objects(starts)}

    def world(self, seed: int) -> World:
        """Return the world of ``state["world"]``; it follows from the number."""
        return _world(seed, self.depth, self.distractors)

    def _games(self, state: State) -> list[tuple[int, World, Progress]]:
        pairs = zip(state["world"].tolist(), state["progress"].tolist(), strict=True)
        return [(seed, self.world(seed), _progress(plain)) for seed, plain in pairs]

    def _scene(self, seed: int, progress: Progress) -> Scene:
        return _scene(seed, self.depth, self.distractors, progress)

    def prompts(self, state: State) -> list[str]:
        """Return the quest and the first room."""
        return [
            f"Find the {world.treasure} and put it on the {ALTAR} in the "
            f"{world.rooms[world.altar]}."
            f"\n{self._scene(seed, progress).text}"
            for seed, world, progress in self._games(state)
        ]

    def more_info(self, state: State) -> dict[str, np.ndarray]:
        """Return the commands that can be obeyed and the score."""
        return _told([self._scene(seed, after) for seed, _, after in self._games(state)])

    def play(self, state: State, texts: list[str], rngs: Sequence[np.random.Generator]) -> Turn:
        """Obey one command in each game."""
        replies, reward, valid, won, kept, scenes = [], [], [], [], [], []
        olds = state["progress"].tolist()
        for (seed, world, before), text, old in zip(self._games(state), texts, olds, strict=True):
            after, reply = obey(world, before, plain(text, self.max_action))
            scene = self._scene(seed, after)
            valid.append(reply != UNKNOWN)
            reward.append(len(after.scored) - len(before.scored))
            won.append(world.depth - 1 in after.scored)
            replies.append(f"{reply}\n{scene.text}")
            kept.append(old if after is before else after.plain())
            scenes.append(scene)
        ended = np.array(won, bool)
        state["progress"], state["won"] = objects(kept), ended
        paid, understood = np.array(reward, np.float64), np.array(valid, bool)
        return Turn(objects(replies), paid, ended, understood, info=_told(scenes))


@functools.lru_cache(4096)
def _world(seed: int, depth: int, distractors: int) -> World:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, depth, distractors])))
    return make_world(rng, depth, distractors)[0]


@functools.lru_cache(8192)
def _progress(plain: tuple[Any, ...]) -> Progress:
    return Progress.of(plain)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a player is told of the state of an adventure.

    Attributes:
        text: Room, things, inventory and commands.
        actions: The commands that can be obeyed.
        score: Goals that have been scored.
    """

    text: str
    actions: tuple[str, ...]
    score: int


@functools.lru_cache(8192)
def _scene(seed: int, depth: int, distractors: int, progress: Progress) -> Scene:
    """Return the scene of a state: many commands do not change it, and many lead back to it."""
    world = _world(seed, depth, distractors)
    actions = valid_actions(world, progress)
    return Scene(describe(world, progress, actions), tuple(actions), len(progress.scored))


def _told(scenes: list[Scene]) -> dict[str, np.ndarray]:
    return {
        "valid_actions": objects([list(scene.actions) for scene in scenes]),
        "score": np.array([scene.score for scene in scenes], np.int64),
    }


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
    seen = [f"a {item}" for item, where in progress.items if where == f"room:{room}"]
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
    found += [f"take {item}" for item, _ in progress.items if _in_reach(world, progress, item)]
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


def _in_reach(world: World, progress: Progress, item: str) -> bool:
    where = progress.where(item)
    if where == f"room:{progress.room}":
        return True
    if where == ALTAR:
        return progress.room == world.altar
    return any(
        where == f"box:{lock.name}" and progress.room in lock.rooms and k in progress.opened
        for k, lock in enumerate(world.locks)
    )


def obey(world: World, progress: Progress, command: str | None) -> tuple[Progress, str]:
    """Return the progress after a command and what is said to it."""
    if command is None:
        return progress, UNKNOWN
    words = command.rstrip(".!").split()
    if words and words[0] in _SHORT:
        words = _SHORT[words[0]].split() + words[1:]
    if len(words) == 1 and words[0] in DIRECTIONS:
        words = ["go", *words]
    verb, rest = (words[0], " ".join(w for w in words[1:] if w != "the")) if words else ("", "")
    verb = {"get": "take", "walk": "go", "inspect": "examine"}.get(verb, verb)
    if verb not in _VERBS:
        return progress, UNKNOWN
    return _VERBS[verb](world, progress, rest)


def _go(world: World, progress: Progress, way: str) -> tuple[Progress, str]:
    exit_ = world.exits[progress.room].get(way)
    if exit_ is None:
        return progress, "You cannot go that way."
    if exit_.door >= 0 and exit_.door not in progress.opened:
        return progress, f"The {world.locks[exit_.door].name} is closed."
    return replace(progress, room=exit_.to), f"You go {way}."


def _take(world: World, progress: Progress, item: str) -> tuple[Progress, str]:
    if progress.where(item) == HELD:
        return progress, "You have it already."
    if not _in_reach(world, progress, item):
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
    return replace(progress, unlocked=progress.unlocked | {number}), f"You unlock the {name}."


def _open(world: World, progress: Progress, name: str) -> tuple[Progress, str]:
    number = _lock(world, progress, name)
    if number is None:
        return progress, "You see no such thing."
    if number not in progress.unlocked:
        return progress, f"The {name} is locked."
    if number in progress.opened:
        return progress, "It is open already."
    opened, scored = progress.opened | {number}, progress.scored | {number}
    return replace(progress, opened=opened, scored=scored), f"You open the {name}."


def _put(world: World, progress: Progress, rest: str) -> tuple[Progress, str]:
    item, _, target = re.sub(r" (?:into|in|on|onto) ", "\n", rest, count=1).partition("\n")
    if progress.where(item) != HELD:
        return progress, "You do not have that."
    if target == ALTAR and progress.room == world.altar:
        moved = progress.moved(item, ALTAR)
        if item == world.treasure:
            moved = replace(moved, scored=moved.scored | {world.depth - 1})
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
    if progress.where(name) == HELD or _in_reach(world, progress, name):
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


class AdventureEnv(TextEnv):
    """:class:`Adventure` as a ``gymnasium.Env``."""

    model_type = Adventure


class AdventureVectorEnv(TextVectorEnv):
    """:class:`Adventure` as a ``gymnasium.vector.VectorEnv``."""

    model_type = Adventure
