"""The compiled raycaster, for ``backend="numba"``: the sums of :mod:`envs.labyrinth.view`.

Columns of pixels are painted one by one, sky, wall, floor, then objects from far to near, as packed
colours that stay in the processor's cache; when a picture is done, its bytes are taken apart in one
go. Rows of each part are counted first and indices are unsigned, so that the loops over pixels have
no branches. This module is imported only when it is asked for; without numba that raises an
``ImportError``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from envs.core.numba_cache import kernel
except ImportError as error:  # pragma: no cover - numba is installed where the tests run
    raise ImportError(
        "labyrinth/random-v0: backend='numba' needs numba: pip install 'rlcore[fast]', "
        "or take backend='numpy'"
    ) from error

from envs.labyrinth.textures import LIGHT_SHIFT, LIGHTS, SIDE_LIGHT, Paint
from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    DEPTH_BITS,
    EATEN,
    FREE,
    HALF_WIDTH,
    NEAR,
    OBJECTS,
    PLACE_BITS,
    PORTAL,
    ROW_SCALE,
    ROW_SHIFT,
    SIDE,
    SIZE,
    TEXEL_BITS,
    TEXELS,
    WALLS,
    RayTables,
)

HALF, TEXTURE = TEXELS // 2, TEXELS * TEXELS
FINE, FAR_SHIFT = PLACE_BITS - TEXEL_BITS, 2 * DEPTH_BITS - PLACE_BITS
APPLE_HALF, PORTAL_HALF = HALF_WIDTH[APPLE], HALF_WIDTH[PORTAL]
INDEX = np.uint64  # numba tests signed indices for being negative


class NumbaView:
    """Draws what players see; the compiled twin of :class:`envs.labyrinth.view.View`."""

    def __init__(self, rays: RayTables, paint: Paint) -> None:
        self._rays = (rays.forward, rays.camera, rays.ray_x, rays.ray_y, rays.cross_x,
                      rays.cross_y, rays.floor_depth)  # fmt: skip
        inks = (part.astype(np.uint32) for part in (paint.colours, paint.sky))
        self._paint = (paint.walls, paint.things, paint.floor, *inks, paint.floor_light)

    def draw(self, blocks: Any, x: Any, y: Any, heading: Any) -> np.ndarray:
        """Return pictures, uint8 ``[n, 84, 84, 3]``."""
        pictures = np.empty((len(x), SIZE * SIZE * 3), np.uint8)
        draw_all(self._rays, self._paint, blocks, x, y, heading, pictures)
        return pictures.reshape(-1, SIZE, SIZE, 3)


@kernel(nogil=True)
def draw_all(rays, paint, blocks, x, y, heading, pictures):  # type: ignore[no-untyped-def]
    """Draw every player's picture into ``pictures``, uint8 ``[n, 84 * 84 * 3]``."""
    things = np.zeros((OBJECTS, 3), np.int64)  # slope, base and light of the objects of a column
    pixels = np.empty(SIZE * SIZE, np.uint32)
    for k in range(len(x)):
        for column in range(SIZE):
            wall = _cast(rays, blocks[k], x[k], y[k], heading[k], column, things)
            _paint_column(rays, paint, wall, x[k], y[k], heading[k], column, pixels)
            for j in range(wall[3] - 1, -1, -1):
                _paint_thing(paint, things[j], column, pixels)
        _unpack(pixels, pictures[k])


@kernel(nogil=True)
def _cast(rays, blocks, x, y, heading, column, things):  # type: ignore[no-untyped-def]
    """Walk one ray; return slope, base and light of the wall, and how many objects it met."""
    ray_x, ray_y = np.int64(rays[2][heading, column]), np.int64(rays[3][heading, column])
    cross_x, cross_y = np.int64(rays[4][heading, column]), np.int64(rays[5][heading, column])
    off_x, off_y = x & (BLOCK - 1), y & (BLOCK - 1)
    next_x = ((off_x if ray_x < 0 else BLOCK - off_x) * cross_x) >> PLACE_BITS
    next_y = ((off_y if ray_y < 0 else BLOCK - off_y) * cross_y) >> PLACE_BITS
    step_x, step_y = (-1 if ray_x < 0 else 1), (-SIDE if ray_y < 0 else SIDE)
    at = (y >> PLACE_BITS) * SIDE + (x >> PLACE_BITS)
    met = 0
    while True:
        across = next_x < next_y
        if across:
            depth = next_x
            next_x += cross_x
            at += step_x
        else:
            depth = next_y
            next_y += cross_y
            at += step_y
        block = np.int64(blocks[at])
        if block != FREE and block <= WALLS:
            break
        if block >= APPLE and block != EATEN and met < OBJECTS:
            met += _meet(rays, x, y, heading, column, block, at, things[met])
    if across:
        place = y + ((depth * ray_y) >> FAR_SHIFT)
    else:
        place = x + ((depth * ray_x) >> FAR_SHIFT)
    base = block * TEXTURE + ((place >> FINE) & (TEXELS - 1)) * TEXELS
    light = (depth >> LIGHT_SHIFT) + (SIDE_LIGHT if across else 0)
    return (depth * ROW_SCALE) >> ROW_SHIFT, base, min(light, LIGHTS - 1) * LIGHTS, met


@kernel(nogil=True)
def _meet(rays, x, y, heading, column, block, at, thing):  # type: ignore[no-untyped-def]
    """Note the object in block ``at`` if the ray hits it; return how many it hit, 0 or 1."""
    cos, sin = np.int64(rays[0][heading, 0]), np.int64(rays[0][heading, 1])
    dx = at % SIDE * BLOCK + BLOCK // 2 - x
    dy = at // SIDE * BLOCK + BLOCK // 2 - y
    depth = (dx * cos + dy * sin) >> PLACE_BITS
    side = (dy * cos - dx * sin) >> PLACE_BITS
    off = ((rays[1][column] * depth) >> DEPTH_BITS) - side
    texel = HALF + (off >> (DEPTH_BITS - TEXEL_BITS))
    half = PORTAL_HALF if block == PORTAL else APPLE_HALF
    if depth < NEAR or texel < HALF - half or texel >= HALF + half:
        return 0
    thing[0] = (depth * ROW_SCALE) >> ROW_SHIFT
    thing[1] = (TEXTURE if block == PORTAL else 0) + texel * TEXELS
    thing[2] = min(depth >> (LIGHT_SHIFT + 1), LIGHTS - 1) * LIGHTS
    return 1


@kernel(nogil=True)
def _rows(slope):  # type: ignore[no-untyped-def]
    """Return the first row of what has this slope, and the first row below it."""
    if slope == 0:
        return 0, SIZE
    edge = (
        HALF << 16
    )  # its rows, in half pixels from the middle, times the slope lie in [-edge, edge)
    first, below = -(edge // slope), -(-edge // slope)
    return max((first + SIZE) >> 1, 0), min((below + SIZE) >> 1, SIZE)


@kernel(nogil=True)
def _paint_column(rays, paint, wall, x, y, heading, column, pixels):  # type: ignore[no-untyped-def]
    walls, _, floor, colours, sky, floor_light = paint
    slope, base, light, _ = wall
    ray_x, ray_y = np.int64(rays[2][heading, column]), np.int64(rays[3][heading, column])
    depths = rays[6]
    top, bottom = _rows(slope)
    for row in range(top):
        pixels[INDEX(row * SIZE + column)] = sky[INDEX(row)]
    for row in range(top, bottom):
        texel = HALF + (((2 * row + 1 - SIZE) * slope) >> 16)
        number = light + walls[INDEX(base + texel)]
        pixels[INDEX(row * SIZE + column)] = colours[INDEX(number)]
    for row in range(bottom, SIZE):
        depth = np.int64(depths[INDEX(row)])
        to_x = ((x + ((depth * ray_x) >> FAR_SHIFT)) >> FINE) & (TEXELS - 1)
        to_y = ((y + ((depth * ray_y) >> FAR_SHIFT)) >> FINE) & (TEXELS - 1)
        number = floor_light[INDEX(row)] + floor[INDEX(to_y * TEXELS + to_x)]
        pixels[INDEX(row * SIZE + column)] = colours[INDEX(number)]


@kernel(nogil=True)
def _paint_thing(paint, thing, column, pixels):  # type: ignore[no-untyped-def]
    things, colours = paint[1], paint[3]
    slope, base, light = thing
    top, bottom = _rows(slope)
    for row in range(top, bottom):
        number = things[INDEX(base + HALF + (((2 * row + 1 - SIZE) * slope) >> 16))]
        if number > 0:
            pixels[INDEX(row * SIZE + column)] = colours[INDEX(light + number)]


@kernel(nogil=True)
def _unpack(pixels, picture):  # type: ignore[no-untyped-def]
    byte = np.uint32(255)
    for k in range(SIZE * SIZE):
        colour = pixels[INDEX(k)]
        picture[INDEX(3 * k)] = colour & byte
        picture[INDEX(3 * k + 1)] = (colour >> np.uint32(8)) & byte
        picture[INDEX(3 * k + 2)] = (colour >> np.uint32(16)) & byte
