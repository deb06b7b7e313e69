"""What an action does: moves along walls, apples, the portal. Written once for NumPy and torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.labyrinth import draws
from envs.labyrinth.arrays import Arrays
from envs.labyrinth.maze import CELL_BLOCK, Mazes
from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    EATEN,
    FREE,
    HEADINGS,
    PLACE_BITS,
    PORTAL,
    RADIUS,
    SIDE,
    WALLS,
    ray_tables,
)

FORWARD, BACK, LEFT, RIGHT, LOOK_LEFT, LOOK_RIGHT = range(6)
ACTIONS = 6
TURNS = (0, 0, 0, 0, -1, 1)
APPLE_REWARD, PORTAL_REWARD = 1.0, 10.0

State = dict[str, Any]
"""Arrays of one library by name; see :func:`begin`."""


def displacements() -> np.ndarray:
    """Return what each action adds to a place, ``[16 headings, 6 actions, 2]``."""
    ahead = ray_tables().stride.astype(np.int64)
    right = np.stack([-ahead[:, 1], ahead[:, 0]], -1)
    still = np.zeros_like(ahead)
    return np.stack([ahead, -ahead, -right, right, still, still], 1)


@dataclass
class Events:
    """What happened in a step, bool ``[n]``."""

    apple: Any
    portal: Any


class Rules:
    """The rules on one device.

    Args:
        xp: Library of the arrays.
    """

    def __init__(self, xp: Arrays) -> None:
        self._xp = xp
        self._moves = xp.array(displacements())
        self._turns = xp.array(TURNS)
        self._cell_block = xp.array(CELL_BLOCK)

    def begin(self, keys: Any, mazes: Mazes) -> State:
        """Return the state at the start of episodes, all int64 ``[n]`` but ``blocks``.

        Args:
            keys: Int64 ``[n]``, of which everything random in the episodes is a function.
            mazes: The mazes of these keys; their blocks become part of the state.
        """
        x, y = self._middle(mazes.start)
        zero = 0 * keys
        return {
            "key": keys,
            "blocks": mazes.blocks,
            "cells": mazes.cells,
            "x": x,
            "y": y,
            "heading": mazes.heading,
            "apples": zero,
            "portals": 0 * keys,
        }

    def advance(self, state: State, actions: Any) -> Events:
        """Let every player act once, changing ``state``; say what they met."""
        self._move(state, actions)
        xp, blocks = self._xp, state["blocks"]
        rows = xp.arange(len(state["x"]))
        at = (state["y"] >> PLACE_BITS) * SIDE + (state["x"] >> PLACE_BITS)
        block = blocks[rows, at]
        events = Events(block == APPLE, block == PORTAL)
        eaten = xp.full((len(rows),), EATEN, "uint8")
        blocks[rows, at] = xp.where(events.apple, eaten, block)
        state["apples"] = state["apples"] + events.apple
        state["portals"] = state["portals"] + events.portal
        through = xp.true_rows(events.portal)
        if len(through):
            self._respawn(state, through)
        return events

    def _move(self, state: State, actions: Any) -> None:
        """Turn, or slide by a step: along x as far as walls allow, then along y."""
        xp = self._xp
        move = self._moves[state["heading"], actions]
        state["heading"] = (state["heading"] + self._turns[actions]) & (HEADINGS - 1)
        x, y = state["x"], state["y"]
        to_x, to_y = x + move[:, 0], y + move[:, 1]
        x = xp.where(self._blocked(state["blocks"], to_x, y), x, to_x)
        y = xp.where(self._blocked(state["blocks"], x, to_y), y, to_y)
        state["x"], state["y"] = x, y

    def _blocked(self, blocks: Any, x: Any, y: Any) -> Any:
        """Whether the player's square around a place overlaps a wall."""
        rows = self._xp.arange(len(x))
        hit = rows < 0
        for side_x in (-RADIUS, RADIUS):
            for side_y in (-RADIUS, RADIUS):
                at = ((y + side_y) >> PLACE_BITS) * SIDE + ((x + side_x) >> PLACE_BITS)
                block = blocks[rows, at]
                hit = hit | ((block != FREE) & (block <= WALLS))
        return hit

    def _respawn(self, state: State, rows: Any) -> None:
        """Put the apples back and the players of ``rows`` into random empty cells."""
        xp = self._xp
        blocks = state["blocks"][rows]
        blocks = xp.where(blocks == EATEN, xp.full((1, 1), APPLE, "uint8"), blocks)
        state["blocks"][rows] = blocks
        empty = blocks[:, self._cell_block] == FREE
        key = state["key"][rows]
        counter = draws.RESPAWN_DRAW + 2 * state["portals"][rows]
        pick = draws.below(key, counter, empty.sum(1))
        chosen = empty & (empty.cumsum(1) - 1 == pick[:, None])
        x, y = self._middle(xp.cast(chosen, "int64").argmax(1))
        state["x"][rows], state["y"][rows] = x, y
        state["heading"][rows] = draws.below(key, counter + 1, HEADINGS)

    def _middle(self, cell: Any) -> tuple[Any, Any]:
        """Return the place in the middle of a cell."""
        block = self._cell_block[cell]
        row = block // SIDE
        return (block - row * SIDE) * BLOCK + BLOCK // 2, row * BLOCK + BLOCK // 2
