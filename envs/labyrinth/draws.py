"""Random numbers that are a function of an episode's key and a counter.

A row draws one 32-bit key from its own generator at the start of an episode; everything random in
that episode is a hash of the key and of a number that says what is drawn. Drawing needs no state,
which makes mazes equal on every backend and respawns possible on a GPU.
"""

from __future__ import annotations

from typing import Any

MASK = 0xFFFFFFFF
SIZE_DRAW, HEADING_DRAW, CELL_DRAW, WALL_DRAW, ZONE_DRAW, SIGN_DRAW, CARVE_DRAW, RESPAWN_DRAW = (
    k << 12 for k in range(8)
)
"""First counters of what is drawn: each has 4096 numbers to itself, respawns all that follow."""


def draw(key: Any, counter: Any) -> Any:
    """Return 32 random bits; works on integers of 64 bits, arrays and tensors alike.

    A Weyl step by the counter, then the multiply-and-shift finaliser with Wellons' constants
    ("lowbias32", public domain). Products may wrap around: only their low 32 bits count.
    """
    mixed = (key + counter * 0x9E3779B9) & MASK
    mixed = mixed ^ (mixed >> 16)
    mixed = (mixed * 0x7FEB352D) & MASK
    mixed = mixed ^ (mixed >> 15)
    # The factor's excess over 2**31 is taken off: modulo 2**32 the product is the same, and a
    # product of 32 by 31 bits does not leave 64 bits.
    mixed = (mixed * (0x846CA68B - (1 << 32))) & MASK
    return mixed ^ (mixed >> 16)


def below(key: Any, counter: Any, limit: Any) -> Any:
    """Return random whole numbers from 0 to ``limit - 1``, for limits up to 2**16."""
    return (draw(key, counter) * limit) >> 32
