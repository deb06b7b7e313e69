"""Worlds of the text adventure: rooms, locks and things, made solvable and proved so by
planning."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

DIRECTIONS = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
ROOMS = [
    "kitchen",
    "cellar",
    "attic",
    "library",
    "workshop",
    "greenhouse",
    "pantry",
    "study",
    "gallery",
    "hall",
    "bedroom",
    "chapel",
    "armoury",
    "observatory",
    "laundry",
    "nursery",
    "parlour",
    "vault",
    "courtyard",
    "stable",
]
METALS = [
    "brass",
    "iron",
    "silver",
    "copper",
    "golden",
    "rusty",
    "bronze",
    "steel",
    "ivory",
    "glass",
    "wooden",
    "jade",
    "pewter",
]
BOXES = [
    "chest",
    "cabinet",
    "trunk",
    "locker",
    "crate",
    "coffer",
    "casket",
    "wardrobe",
    "safe",
    "drawer",
    "hamper",
    "cupboard",
]
THINGS = [
    "lamp",
    "rope",
    "book",
    "vase",
    "coin",
    "candle",
    "apple",
    "hat",
    "shovel",
    "mirror",
    "bottle",
    "brush",
    "kettle",
    "pillow",
    "stone",
]
TREASURES = ["crown", "ruby", "idol", "chalice", "sceptre", "pearl", "amulet"]
ALTAR = "altar"
MAX_STEPS = 60


@dataclass(frozen=True, slots=True)
class Exit:
    """A way out of a room; ``door`` is the number of its lock or -1."""

    to: int
    door: int = -1


@dataclass(frozen=True, slots=True)
class Lock:
    """A locked thing: a door between two rooms, or a box that stands in a room.

    Attributes:
        name: What it is called.
        key: Name of the item that unlocks it.
        rooms: Rooms from which it can be reached.
        is_door: Whether it is a door.
    """

    name: str
    key: str
    rooms: tuple[int, ...]
    is_door: bool


@dataclass(frozen=True)
class World:
    """Everything about an adventure that does not change.

    Attributes:
        rooms: Their names.
        exits: The ways out of each room, by direction.
        locks: The quest's locks.
        items: Where each item lies at the start: ``room:3``, ``box:chest``.
        treasure: The item to put on the altar.
        altar: The room of the altar.
        start: The room of the player.
    """

    rooms: tuple[str, ...]
    exits: tuple[dict[str, Exit], ...]
    locks: tuple[Lock, ...]
    items: dict[str, str]
    treasure: str
    altar: int
    start: int

    @property
    def depth(self) -> int:
        """Goals of the quest: every lock, and the treasure on the altar."""
        return len(self.locks) + 1


def make_world(rng: np.random.Generator, depth: int, distractors: int) -> tuple[World, list[str]]:
    """Return a world and its shortest solution.

    Every key lies where the keys before it lead, and the planner has found the way; a draw that
    takes more than 60 commands is thrown away.

    Args:
        rng: Generator.
        depth: Goals of the quest, 2-12.
        distractors: Things of no use.

    Raises:
        RuntimeError: 200 draws have not given a world that can be solved in 60 commands.
    """
    for _ in range(200):
        world = _draw(rng, depth, distractors)
        solution = plan(world)
        if solution is not None and len(solution) <= MAX_STEPS:
            return world, solution
    raise RuntimeError(f"no adventure of depth {depth} could be drawn in 200 tries")


def _draw(rng: np.random.Generator, depth: int, distractors: int) -> World:
    count = int(rng.integers(4, 7)) + depth // 4
    places, exits = _map(rng, count)
    names = [str(n) for n in rng.permutation(ROOMS)[:count]]
    locks, items, treasure = _quest(rng, depth, exits, places)
    for thing in rng.permutation(THINGS)[:distractors]:
        items[str(thing)] = f"room:{int(rng.integers(count))}"
    return World(
        rooms=tuple(names),
        exits=tuple(exits),
        locks=tuple(locks),
        items=items,
        treasure=treasure,
        altar=int(rng.integers(count)),
        start=0,
    )


def _map(
    rng: np.random.Generator, count: int
) -> tuple[list[tuple[int, int]], list[dict[str, Exit]]]:
    """Grow rooms on a grid, each joined to the one it grew from; close some loops one way."""
    places, exits = [(0, 0)], [{}]  # type: ignore[var-annotated]
    while len(places) < count:
        room = int(rng.integers(len(places)))
        way = list(DIRECTIONS)[int(rng.integers(4))]
        place = _beside(places[room], way)
        if place not in places:
            places.append(place)
            exits.append({OPPOSITE[way]: Exit(room)})
            exits[room][way] = Exit(len(places) - 1)
    for room, place in enumerate(places):
        for way in DIRECTIONS:
            beside = _beside(place, way)
            if way in exits[room] or beside not in places or rng.random() >= 0.4:
                continue
            other = places.index(beside)
            if OPPOSITE[way] not in exits[other]:  # so that it leads one way only
                exits[room][way] = Exit(other)
    return places, exits


def _beside(place: tuple[int, int], way: str) -> tuple[int, int]:
    return place[0] + DIRECTIONS[way][0], place[1] + DIRECTIONS[way][1]


def _quest(
    rng: np.random.Generator,
    depth: int,
    exits: list[dict[str, Exit]],
    places: list[tuple[int, int]],
) -> tuple[list[Lock], dict[str, str], str]:
    """Place a chain of locks; each hides the key of the next, the last the treasure."""
    keys = [f"{metal} key" for metal in rng.permutation(METALS)[: depth - 1]]
    boxes = [str(box) for box in rng.permutation(BOXES)]
    treasure = str(rng.choice(TREASURES))
    locks: list[Lock] = []
    items: dict[str, str] = {}
    closed = _leaves(exits)
    where = f"room:{_room(rng, set(range(len(exits))) - closed, 0)}"
    for k, key in enumerate(keys):
        items[key] = where
        if closed and rng.random() < 0.4:
            room = sorted(closed)[int(rng.integers(len(closed)))]
            closed.remove(room)
            locks.append(_bolt(exits, room, k, key))
            where = f"room:{room}"
        else:
            room = _room(rng, set(range(len(exits))) - closed, 0)
            locks.append(Lock(boxes[k], key, (room,), False))
            where = f"box:{boxes[k]}"
    items[treasure] = where
    return locks, items, treasure


def _room(rng: np.random.Generator, rooms: set[int], default: int) -> int:
    return sorted(rooms)[int(rng.integers(len(rooms)))] if rooms else default


def _leaves(exits: list[dict[str, Exit]]) -> set[int]:
    """Return rooms, other than the first, with a single way in that is also their only way out."""
    entrances = [0] * len(exits)
    for ways in exits:
        for way in ways.values():
            entrances[way.to] += 1
    return {k for k in range(1, len(exits)) if entrances[k] == 1 and len(exits[k]) == 1}


def _bolt(exits: list[dict[str, Exit]], room: int, number: int, key: str) -> Lock:
    """Put a locked door before a dead end."""
    (way, out), *_ = exits[room].items()
    exits[room][way] = Exit(out.to, number)
    exits[out.to][OPPOSITE[way]] = Exit(room, number)
    name = key.removesuffix(" key") + " door"
    return Lock(name, key, (out.to, room), True)


Place = tuple[int, int, int]
"""State of the planner: room, unlocked locks and held things as bit masks."""


def plan(
    world: World,
    room: int | None = None,
    opened: frozenset[int] = frozenset(),
    unlocked: frozenset[int] = frozenset(),
    items: Mapping[str, str] | None = None,
) -> list[str] | None:
    """Return a shortest list of commands that scores every goal, or None if there is none.

    Breadth-first search over (room, locks that are open, quest things that are held). Unlocking and
    opening are taken together, as neither is of use alone.

    Args:
        world: The world.
        room: Where the player is; None for the start.
        opened: Locks that are open already.
        unlocked: Locks that are unlocked already.
        items: Where the items are, ``held`` or ``altar`` too; None for the start.
    """
    lie = world.items if items is None else items
    things = [*(lock.key for lock in world.locks), world.treasure]
    held = sum(1 << k for k, thing in enumerate(things) if lie[thing] == "held")
    start: Place = (world.start if room is None else room, sum(1 << k for k in opened), held)
    came: dict[Place, tuple[Place, list[str]]] = {}
    seen, waiting = {start: 0}, [deque([start])]
    cost = 0
    while cost < len(waiting):
        while waiting[cost]:
            place = waiting[cost].popleft()
            if seen[place] < cost:
                continue
            if _done(world, place):
                return [*_back(came, place), f"put {world.treasure} on {ALTAR}"]
            for commands, follower in _moves(world, things, lie, unlocked, place):
                later = cost + len(commands)
                if later < seen.get(follower, 1 << 30):
                    seen[follower] = later
                    came[follower] = (place, commands)
                    waiting.extend(deque() for _ in range(later + 1 - len(waiting)))
                    waiting[later].append(follower)
        cost += 1
    return None


def _done(world: World, place: Place) -> bool:
    room, open_, held = place
    everything = open_ == (1 << len(world.locks)) - 1
    return room == world.altar and everything and bool(held >> len(world.locks) & 1)


def _moves(
    world: World,
    things: list[str],
    lie: Mapping[str, str],
    unlocked: frozenset[int],
    place: Place,
) -> Iterator[tuple[list[str], Place]]:
    room, open_, held = place
    for way, exit_ in world.exits[room].items():
        if exit_.door < 0 or open_ >> exit_.door & 1:
            yield [f"go {way}"], (exit_.to, open_, held)
    for k, lock in enumerate(world.locks):
        if room not in lock.rooms or open_ >> k & 1:
            continue
        follower = (room, open_ | 1 << k, held)
        if k in unlocked:
            yield [f"open {lock.name}"], follower
        elif held >> k & 1:
            yield [f"unlock {lock.name} with {lock.key}", f"open {lock.name}"], follower
    for k, thing in enumerate(things):
        if not held >> k & 1 and _reachable(world, lie[thing], room, open_):
            yield [f"take {thing}"], (room, open_, held | 1 << k)


def _reachable(world: World, where: str, room: int, open_: int) -> bool:
    kind, _, name = where.partition(":")
    if kind in ("held", ALTAR):
        return kind == ALTAR and room == world.altar
    if kind == "room":
        return int(name) == room
    number = next(k for k, lock in enumerate(world.locks) if lock.name == name)
    return bool(open_ >> number & 1) and room in world.locks[number].rooms


def _back(came: dict[Place, tuple[Place, list[str]]], place: Place) -> list[str]:
    commands: list[str] = []
    while place in came:
        place, last = came[place]
        commands = last + commands
    return commands
