"""Scripted players: an oracle that knows the maze and an explorer that must see it first.

Both read the player's place and heading from the environment's state; the explorer uses of the
maze only what it has seen through the 90 degrees of its view, and the blocks next to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.labyrinth.rules import BACK, FORWARD, LEFT, LOOK_LEFT, LOOK_RIGHT, RIGHT
from envs.labyrinth.units import (
    BLOCK,
    FREE,
    HEADINGS,
    PLACE_BITS,
    PORTAL,
    SIDE,
    SIZE,
    STRIDE,
    WALLS,
    RayTables,
    ray_tables,
)

Policy = Callable[[Any, dict[str, Any]], int]

GAPS = (1, SIDE, -1, -SIDE)
"""Numbers added to a block's number by a step east, south, west, north."""
QUARTER = HEADINGS // 4
UNKNOWN = -1
SEEN_COLUMNS = range(0, SIZE, 4)


def make_oracle(env: Any) -> Policy:
    """Return the policy that walks the shortest path to the portal, strafing instead of turning."""
    distances: list[np.ndarray] = []

    def policy(obs: Any, info: dict[str, Any]) -> int:
        player = Player(env)
        if not distances:
            distances.append(steps_to(player.blocks, portal_in(player.blocks)))
        aside = player.heading % QUARTER
        if aside:
            return LOOK_LEFT if aside <= QUARTER // 2 else LOOK_RIGHT
        way = downhill(distances[0], player.block)
        turn = (player.towards(way) - player.heading // QUARTER) % 4
        return (FORWARD, RIGHT, BACK, LEFT)[turn]

    return policy


def make_explorer(env: Any) -> Policy:
    """Return the policy that follows walls until it has seen the portal, then walks there.

    Of the open blocks around it takes the least visited one, and of these the first in the order
    right, ahead, left, back (the right-hand rule, which by itself may circle in a maze with
    loops). It walks facing where it goes, remembers what it saw, and after a respawn goes back to
    the portal as soon as the two places are joined by blocks that it knows.
    """
    return Explorer(env)


class Explorer:
    """See :func:`make_explorer`.

    Args:
        env: The plain environment.
    """

    def __init__(self, env: Any) -> None:
        self._env, self._rays = env, ray_tables()
        self.known = np.full(SIDE * SIDE, UNKNOWN)
        self._visits = np.zeros(SIDE * SIDE, np.int64)
        self._standing = UNKNOWN
        self._way = 0

    def __call__(self, obs: Any, info: dict[str, Any]) -> int:
        """Return the next action."""
        player = Player(self._env)
        self._look(player)
        if player.block != self._standing:
            self._standing = player.block
            self._visits[player.block] += 1
            self._way = self._choose(player)
        way = player.towards(self._way)
        turn = (way * QUARTER - player.heading) % HEADINGS
        if turn:
            return LOOK_RIGHT if turn <= HEADINGS // 2 else LOOK_LEFT
        return FORWARD

    def _look(self, player: Player) -> None:
        for block in seen_blocks(player, self._rays):
            self.known[block] = player.blocks[block]
        for gap in GAPS:
            self.known[player.block + gap] = player.blocks[player.block + gap]

    def _choose(self, player: Player) -> int:
        """Return the direction in which to leave the player's block."""
        portal = portal_in(self.known)
        if portal != UNKNOWN:
            distance = steps_to(np.where(self.known == UNKNOWN, WALLS, self.known), portal)
            if distance[player.block] < distance.size:
                return downhill(distance, player.block)
        facing = round(player.heading / QUARTER)
        order = [(facing + turn) % 4 for turn in (1, 0, 3, 2)]
        open_ways = [way for way in order if is_open(self.known[player.block + GAPS[way]])]
        return min(open_ways, key=lambda way: self._visits[player.block + GAPS[way]])


class Player:
    """Where the player of a plain environment is, and the maze around it."""

    def __init__(self, env: Any) -> None:
        state = env.get_state()["model"]
        self.blocks = state["blocks"][0].astype(np.int64)
        self.x, self.y = int(state["x"][0]), int(state["y"][0])
        self.heading = int(state["heading"][0])
        self.block = (self.y >> PLACE_BITS) * SIDE + (self.x >> PLACE_BITS)

    def towards(self, way: int) -> int:
        """Return the direction to step in, to leave the block by ``way`` through its middle."""
        off = [(self.x & (BLOCK - 1)) - BLOCK // 2, (self.y & (BLOCK - 1)) - BLOCK // 2]
        aside = off[1 - way % 2]
        if abs(aside) <= STRIDE // 2:
            return way
        across = 1 - way % 2  # 0: east or west, 1: south or north
        return across if aside < 0 else across + 2


def is_open(block: Any) -> bool:
    """Whether a block can be walked through."""
    return bool(block == FREE or block > WALLS)


def portal_in(blocks: np.ndarray) -> int:
    """Return the number of the portal's block, -1 if there is none."""
    found = np.flatnonzero(blocks == PORTAL)
    return int(found[0]) if len(found) else UNKNOWN


def steps_to(blocks: np.ndarray, goal: int) -> np.ndarray:
    """Return the blocks to walk from each block to ``goal``, 529 where there is no way."""
    distance = np.full(blocks.size, blocks.size)
    distance[goal] = 0
    front = deque([goal])
    while front:
        here = front.popleft()
        for gap in GAPS:
            there = here + gap
            if is_open(blocks[there]) and distance[there] > distance[here] + 1:
                distance[there] = distance[here] + 1
                front.append(there)
    return distance


def downhill(distance: np.ndarray, block: int) -> int:
    """Return the direction of the neighbour nearest to the goal."""
    return int(np.argmin([distance[block + gap] for gap in GAPS]))


def seen_blocks(player: Player, rays: RayTables) -> set[int]:
    """Return the blocks that some of the player's rays cross, the walls they end at included."""
    seen: set[int] = set()
    for column in SEEN_COLUMNS:
        way_x, way_y = (int(part[player.heading, column]) for part in (rays.ray_x, rays.ray_y))
        cross_x, cross_y = abs(BLOCK / way_x), abs(BLOCK / way_y)
        off_x, off_y = player.x / BLOCK % 1, player.y / BLOCK % 1
        next_x = (off_x if way_x < 0 else 1 - off_x) * cross_x
        next_y = (off_y if way_y < 0 else 1 - off_y) * cross_y
        at = player.block
        while True:
            if next_x < next_y:
                next_x, at = next_x + cross_x, at + (1 if way_x > 0 else -1)
            else:
                next_y, at = next_y + cross_y, at + (SIDE if way_y > 0 else -SIDE)
            seen.add(at)
            if not is_open(player.blocks[at]):
                break
    return seen
