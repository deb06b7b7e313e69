"""Worlds of the text adventure: rooms, locks and things, made solvable and proved so by
planning."""

from __future__ import annotations

import functools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DIRECTIONS = ("north", "south", "east", "west")
_WAYS = [("north", 0, 1, "south"), ("south", 0, -1, "north"), ("east", 1, 0, "west"),
         ("west", -1, 0, "east")]  # fmt: skip
_BACK = {way: back for way, _, _, back in _WAYS}
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
Draw = Callable[[], float]
MAX_STEPS = 60


class Exit(NamedTuple):
    """A way out of a room; ``door`` is the number of its lock or -1."""

    to: int
    door: int = -1


class Lock(NamedTuple):
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


@functools.cache
def _exit(to: int, door: int = -1) -> Exit:
    return Exit(to, door)  # there are few: worlds share them


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
    """Return a world, as :func:`draw_world` does, and its shortest solution."""
    world = draw_world(random.Random(int(rng.integers(1 << 62))), depth, distractors)
    solution = plan(world)
    assert solution is not None
    return world, solution


def draw_world(source: random.Random, depth: int, distractors: int) -> World:
    """Return a world that can be solved in 60 commands; other draws are thrown away.

    Args:
        source: What is drawn from; several times faster than NumPy's at single numbers.
        depth: Goals of the quest, 2-12.
        distractors: Things of no use.

    Raises:
        RuntimeError: 200 draws have not given a world that can be solved in 60 commands.
    """
    for _ in range(200):
        world = _draw(source, depth, distractors)
        if _solved(world):
            return world
    raise RuntimeError(f"no adventure of depth {depth} could be drawn in 200 tries")


def _solved(world: World) -> bool:
    if _commands_in_order(world) <= MAX_STEPS:
        return True
    solution = plan(world)
    return solution is not None and len(solution) <= MAX_STEPS


def _commands_in_order(world: World) -> float:
    """Return how many commands it takes to open the locks one by one, infinity if that fails.

    It proves a world without searching for the shortest way, which is never longer.
    """
    ways = [[way.to for way in exits.values() if way.door < 0] for exits in world.exits]
    rooms = {f"box:{lock.name}": lock.rooms for lock in world.locks}
    rooms |= {f"room:{k}": (k,) for k in range(len(ways))}
    room, count = world.start, 0.0
    for lock in world.locks:
        for goals, commands in ((rooms[world.items[lock.key]], 1), (lock.rooms, 2)):
            room, far = _walk(ways, room, goals)
            count += far + commands
        if lock.is_door:
            one, other = lock.rooms
            ways[one].append(other)
            ways[other].append(one)
    for goals in (rooms[world.items[world.treasure]], (world.altar,)):
        room, far = _walk(ways, room, goals)
        count += far + 1
    return count


def _walk(ways: list[list[int]], room: int, goals: tuple[int, ...]) -> tuple[int, float]:
    """Return which of the rooms ``goals`` is reached first, and after how many moves."""
    if room in goals:
        return room, 0
    seen, ring, far = {room}, [room], 0
    while ring:
        ring, last, far = [], ring, far + 1
        for room in last:
            for to in ways[room]:
                if to in goals:
                    return to, far
                if to not in seen:
                    seen.add(to)
                    ring.append(to)
    return room, math.inf


def _draw(source: random.Random, depth: int, distractors: int) -> World:
    draw = source.random  # the cheapest of its methods by far; a number below n is int(draw() * n)
    count = 4 + int(draw() * 3) + depth // 4
    exits = _map(draw, count)
    locks, items, treasure = _quest(draw, depth, exits)
    for thing in _some(draw, THINGS, distractors):
        items[thing] = f"room:{int(draw() * count)}"
    return World(
        rooms=tuple(_some(draw, ROOMS, count)),
        exits=tuple(exits),
        locks=tuple(locks),
        items=items,
        treasure=treasure,
        altar=int(draw() * count),
        start=0,
    )


def _some(draw: Draw, names: Sequence[str], count: int) -> list[str]:
    """Return ``count`` different names in random order: a shuffle that stops early."""
    left = list(names)
    for k in range(count):
        other = k + int(draw() * (len(left) - k))
        left[k], left[other] = left[other], left[k]
    return left[:count]


def _map(draw: Draw, count: int) -> list[dict[str, Exit]]:
    """Grow rooms on a grid, each joined to the one it grew from; close some loops one way."""
    cells, places = [(0, 0)], {(0, 0): 0}
    exits: list[dict[str, Exit]] = [{}]
    while len(cells) < count:
        room = int(draw() * len(cells))
        way, dx, dy, back = _WAYS[int(draw() * 4)]
        x, y = cells[room]
        cell = x + dx, y + dy
        if cell not in places:
            places[cell] = len(cells)
            exits[room][way] = _exit(len(cells))
            exits.append({back: _exit(room)})
            cells.append(cell)
    for room, (x, y) in enumerate(cells):
        for way, dx, dy, back in _WAYS:
            other = places.get((x + dx, y + dy))
            if way in exits[room] or other is None or draw() >= 0.4:
                continue
            if back not in exits[other]:  # so that it leads one way only
                exits[room][way] = _exit(other)
    return exits


def _quest(
    draw: Draw, depth: int, exits: list[dict[str, Exit]]
) -> tuple[list[Lock], dict[str, str], str]:
    """Place a chain of locks; each hides the key of the next, the last the treasure."""
    boxes = _some(draw, BOXES, depth - 1)
    treasure = TREASURES[int(draw() * len(TREASURES))]
    locks: list[Lock] = []
    items: dict[str, str] = {}
    closed = _leaves(exits)
    free = [k for k in range(len(exits)) if k not in closed]
    where = f"room:{free[int(draw() * len(free))]}"
    for k, metal in enumerate(_some(draw, METALS, depth - 1)):
        key = f"{metal} key"
        items[key] = where
        if closed and draw() < 0.4:
            room = closed.pop(int(draw() * len(closed)))
            free.append(room)
            locks.append(_bolt(exits, room, k, key))
            where = f"room:{room}"
        else:
            locks.append(Lock(boxes[k], key, (free[int(draw() * len(free))],), False))
            where = f"box:{boxes[k]}"
    items[treasure] = where
    return locks, items, treasure


def _leaves(exits: list[dict[str, Exit]]) -> list[int]:
    """Return rooms, other than the first, with a single way in that is also their only way out."""
    entrances = [0] * len(exits)
    for ways in exits:
        for way in ways.values():
            entrances[way.to] += 1
    return [k for k in range(1, len(exits)) if entrances[k] == 1 and len(exits[k]) == 1]


def _bolt(exits: list[dict[str, Exit]], room: int, number: int, key: str) -> Lock:
    """Put a locked door before a dead end."""
    (way, out), *_ = exits[room].items()
    exits[room][way] = _exit(out.to, number)
    exits[out.to][_BACK[way]] = _exit(room, number)
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
