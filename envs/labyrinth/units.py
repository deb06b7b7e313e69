"""Whole numbers for lengths, angles and rays: every backend computes the same picture, bit for bit.

A block (the side of a wall) is the unit of length. Positions count 1/1024 of it; directions,
depths and lateral offsets 1/4096. Headings are sixteenths of a turn, clockwise on a map whose y
axis points down. All products below stay under 2**31, so that 32-bit arithmetic never overflows;
a test proves it from the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIZE = 84
"""Pixels across and down."""
HEADINGS = 16
MAX_CELLS = 11
SIDE = 2 * MAX_CELLS + 1
"""Blocks across the array that holds a maze; a smaller maze fills its upper left corner."""

PLACE_BITS, DEPTH_BITS = 10, 12
BLOCK = 1 << PLACE_BITS
DEPTH = 1 << DEPTH_BITS
STRIDE = BLOCK // 4
"""Length of a step: 3.75 blocks a second at 15 decisions a second."""
RADIUS = 208
"""Half the side of the player's square, for collisions with walls."""

TEXELS = 32
"""Texels across and down a block, of a wall, of the floor and of an object."""
TEXEL_BITS = 5
ROW_SCALE, ROW_SHIFT = 6242, 10
"""A depth times the scale, shifted, is texels by which two rows of pixels differ, times 2**16.

The exact factor is 2 * 32 * 2**16 / (2 * 84 * 4096) = 6.0952: rows are counted in half pixels from
the middle, and a wall at depth 1 is half as high as the picture (field of view 90 degrees).
"""

FREE, WALLS, APPLE, EATEN, PORTAL = 0, 15, 16, 17, 18
"""What a block holds; 1 to ``WALLS`` are walls, the number names the texture."""
OBJECTS = 3
"""Objects shown in one column of pixels, the nearest ones."""
HALF_WIDTH = {APPLE: 9, PORTAL: 14}
"""Half the width of an object, in texels."""
NEAR = DEPTH // 8
"""Depth under which an object is not drawn."""


@dataclass(frozen=True)
class RayTables:
    """Constants of the camera, int32.

    Attributes:
        forward: Unit vectors of the headings ``[16, 2]``, in 1/4096.
        stride: Displacement of a step forward ``[16, 2]``, in 1/1024 block.
        camera: Sideways component of each column's ray ``[84]``, in 1/4096 of its forward one.
        ray_x: x component of each ray ``[16, 84]``, in 1/4096.
        ray_y: y component.
        cross_x: Depth between two crossings of lines of constant x ``[16, 84]``, in 1/4096 block.
        cross_y: The same for lines of constant y.
        row: Distance of each row of pixels below the middle ``[84]``, in half pixels.
        floor_depth: Depth at which each row sees the floor ``[84]``; 0 for rows above the middle.
    """

    forward: np.ndarray
    stride: np.ndarray
    camera: np.ndarray
    ray_x: np.ndarray
    ray_y: np.ndarray
    cross_x: np.ndarray
    cross_y: np.ndarray
    row: np.ndarray
    floor_depth: np.ndarray


def ray_tables() -> RayTables:
    """Return the camera's constants, rounded from float64."""
    angle = 2 * np.pi * np.arange(HEADINGS) / HEADINGS
    cos, sin = np.cos(angle), np.sin(angle)
    row = 2 * np.arange(SIZE) + 1 - SIZE
    side = row / SIZE  # tan(45 degrees) at the edge of the picture
    x = cos[:, None] - side * sin[:, None]
    y = sin[:, None] + side * cos[:, None]
    below = np.maximum(row, 1)
    return RayTables(
        forward=_whole(np.stack([cos, sin], -1) * DEPTH),
        stride=_whole(np.stack([cos, sin], -1) * STRIDE),
        camera=_whole(side * DEPTH),
        ray_x=_whole(x * DEPTH),
        ray_y=_whole(y * DEPTH),
        cross_x=_whole(DEPTH / np.abs(x)),
        cross_y=_whole(DEPTH / np.abs(y)),
        row=row.astype(np.int32),
        floor_depth=_whole(np.where(row > 0, SIZE / 2 * DEPTH / below, 0)),
    )


def _whole(values: np.ndarray) -> np.ndarray:
    # Rounding to 1e-6 first hides the last bits of sine and cosine, which differ between machines.
    return np.rint(np.round(values, 6)).astype(np.int32)
