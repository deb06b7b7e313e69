"""The readable raycaster: pictures of many players at once, for NumPy and torch.

One ray a column walks from block to block (digital differential analyser, Amanatides & Woo 1987)
until it meets a wall. An object stands in the middle of its block as a flat picture that faces the
player; as it fits into its block, a ray can only meet it while it is in that block, so the walk
meets objects in order of depth and never behind a wall. :mod:`envs.labyrinth.numba_view` and
:mod:`envs.labyrinth.triton_view` do the same sums and give the same pictures, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.labyrinth.arrays import Arrays
from envs.labyrinth.textures import LIGHT_SHIFT, LIGHTS, SIDE_LIGHT, Paint
from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    DEPTH_BITS,
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

CHUNK, DEVICE_CHUNK = 64, 4096
"""Players drawn at a time on a processor, whose cache their pixels must fit, and on a GPU."""
_HALF = TEXELS // 2
_TEXTURE = TEXELS * TEXELS


@dataclass
class Columns:
    """What each column of pixels shows, int32 ``[n, 84]`` or, of objects, ``[n, 84, 3]``.

    Attributes:
        slope: Texels of the wall between two rows of pixels, times 2**16.
        base: Number of the wall's topmost texel.
        light: Light of the wall, times 64.
        thing_slope: As ``slope``, of the objects, the nearest first.
        thing_base: Number of the object's topmost texel; -1 where there is no object.
        thing_light: Light of the objects, times 64.
    """

    slope: Any
    base: Any
    light: Any
    thing_slope: Any
    thing_base: Any
    thing_light: Any


class View:
    """Draws what players see.

    Args:
        xp: Library of the arrays.
        rays: Constants of the camera.
        paint: Textures and colours.
        chunk: How many players to draw at a time.
    """

    def __init__(self, xp: Arrays, rays: RayTables, paint: Paint, chunk: int = CHUNK) -> None:
        self._xp, self._chunk = xp, chunk
        names = ("forward", "camera", "ray_x", "ray_y", "cross_x", "cross_y", "row", "floor_depth")
        self._rays = {name: xp.array(getattr(rays, name), "int32") for name in names}
        parts = ("walls", "things", "floor", "colours", "sky", "floor_light")
        self._paint = {name: xp.array(getattr(paint, name), "int32") for name in parts}

    def draw(self, blocks: Any, x: Any, y: Any, heading: Any) -> Any:
        """Return pictures, uint8 ``[n, 84, 84, 3]``.

        Args:
            blocks: Uint8 ``[n, 529]``.
            x: Places of the players ``[n]``, in 1/1024 block.
            y: The same.
            heading: ``[n]``, 0 to 15.
        """
        xp, chunk = self._xp, self._chunk
        pictures = xp.full((len(x), SIZE, SIZE, 3), 0, "uint8")
        for low in range(0, len(x), chunk):
            part = slice(low, low + chunk)
            place = xp.cast(x[part], "int32"), xp.cast(y[part], "int32")
            pictures[part] = self._pixels(
                self.cast(blocks[part], *place, heading[part]), *place, heading[part]
            )
        return pictures

    def cast(self, blocks: Any, x: Any, y: Any, heading: Any) -> Columns:
        """Walk the ray of every column; see :class:`Columns`."""
        xp, rays = self._xp, self._rays
        n = len(x)
        row = xp.arange(n)[:, None]
        ray_x, ray_y = rays["ray_x"][heading], rays["ray_y"][heading]
        cross_x, cross_y = rays["cross_x"][heading], rays["cross_y"][heading]
        x, y = x[:, None], y[:, None]
        off_x, off_y = x & (BLOCK - 1), y & (BLOCK - 1)
        next_x = (xp.where(ray_x < 0, off_x, BLOCK - off_x) * cross_x) >> PLACE_BITS
        next_y = (xp.where(ray_y < 0, off_y, BLOCK - off_y) * cross_y) >> PLACE_BITS
        step_x, step_y = xp.where(ray_x < 0, -1, 1), xp.where(ray_y < 0, -SIDE, SIDE)
        at = (y >> PLACE_BITS) * SIDE + (x >> PLACE_BITS) + 0 * step_x
        depth, found = 0 * next_x, 0 * next_x
        across = ray_x < 0  # whether the last line crossed was one of constant x; set in the walk
        things = _Things(xp, n, rays, heading, x, y)
        live = ray_x == ray_x
        while bool(live.any()):
            turn = next_x < next_y
            across = xp.where(live, turn, across)
            depth = xp.where(live, xp.where(turn, next_x, next_y), depth)
            next_x = next_x + xp.where(live & turn, cross_x, 0)
            next_y = next_y + xp.where(live & ~turn, cross_y, 0)
            at = at + xp.where(live, xp.where(turn, step_x, step_y), 0)
            block = xp.cast(blocks[row, at], "int32")
            wall = (block != FREE) & (block <= WALLS)
            found = xp.where(live & wall, block, found)
            live = live & ~wall
            things.meet(live & ((block == APPLE) | (block == PORTAL)), block, at)
        met = xp.where(across, y + ((depth * ray_y) >> (2 * DEPTH_BITS - PLACE_BITS)),
                       x + ((depth * ray_x) >> (2 * DEPTH_BITS - PLACE_BITS)))  # fmt: skip
        column = (met >> (PLACE_BITS - TEXEL_BITS)) & (TEXELS - 1)
        light = (depth >> LIGHT_SHIFT) + xp.where(across, SIDE_LIGHT, 0)
        return Columns(
            slope=(depth * ROW_SCALE) >> ROW_SHIFT,
            base=found * _TEXTURE + column * TEXELS,
            light=xp.where(light < LIGHTS, light, LIGHTS - 1) * LIGHTS,
            thing_slope=xp.stack(things.slope, 2),
            thing_base=xp.stack(things.base, 2),
            thing_light=xp.stack(things.light, 2),
        )

    def _pixels(self, columns: Columns, x: Any, y: Any, heading: Any) -> Any:
        xp, rays, paint = self._xp, self._rays, self._paint
        row = rays["row"][None, :, None]
        texel = _HALF + ((row * columns.slope[:, None]) >> 16)
        on_wall = (texel >= 0) & (texel < TEXELS)
        number = paint["walls"][columns.base[:, None] + xp.where(on_wall, texel, 0)]
        wall = paint["colours"][columns.light[:, None] + number]
        colour = xp.where(on_wall, wall, xp.where(row < 0, paint["sky"][:, None], 0))
        below = slice(SIZE // 2, SIZE)
        floor = self._floor(x, y, heading)
        colour[:, below] = xp.where(on_wall[:, below], colour[:, below], floor)
        for k in reversed(range(OBJECTS)):
            base = columns.thing_base[:, None, :, k]
            if not bool((base >= 0).any()):
                continue
            texel = _HALF + ((row * columns.thing_slope[:, None, :, k]) >> 16)
            seen = (base >= 0) & (texel >= 0) & (texel < TEXELS)
            number = paint["things"][xp.where(seen, base + texel, 0)]
            thing = paint["colours"][columns.thing_light[:, None, :, k] + number]
            colour = xp.where(seen & (number > 0), thing, colour)
        channels = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255]
        return xp.cast(xp.stack(channels, 3), "uint8")

    def _floor(self, x: Any, y: Any, heading: Any) -> Any:
        """Return the colours of the floor in the lower half of the picture ``[n, 42, 84]``."""
        rays, paint = self._rays, self._paint
        depth = rays["floor_depth"][SIZE // 2 :, None]
        shift = 2 * DEPTH_BITS - PLACE_BITS
        to_x = x[:, None, None] + ((depth * rays["ray_x"][heading][:, None]) >> shift)
        to_y = y[:, None, None] + ((depth * rays["ray_y"][heading][:, None]) >> shift)
        fine = PLACE_BITS - TEXEL_BITS
        texel = ((to_y >> fine) & (TEXELS - 1)) * TEXELS + ((to_x >> fine) & (TEXELS - 1))
        return paint["colours"][paint["floor_light"][SIZE // 2 :, None] + paint["floor"][texel]]


class _Things:
    """The objects that rays have met so far, in the order of depth."""

    def __init__(self, xp: Arrays, n: int, rays: Any, heading: Any, x: Any, y: Any) -> None:
        self._xp = xp
        self._camera, self._x, self._y = rays["camera"], x, y
        self._cos, self._sin = rays["forward"][heading][:, :1], rays["forward"][heading][:, 1:]
        self.slope = [xp.full((n, SIZE), 0, "int32") for _ in range(OBJECTS)]
        self.base = [xp.full((n, SIZE), -1, "int32") for _ in range(OBJECTS)]
        self.light = [xp.full((n, SIZE), 0, "int32") for _ in range(OBJECTS)]

    def meet(self, flags: Any, block: Any, at: Any) -> None:
        """Note where the rays of ``flags`` ``[n, 84]`` hit the object in their block ``at``."""
        if not bool(flags.any()):
            return
        xp = self._xp
        at_y = at // SIDE
        dx = (at - at_y * SIDE) * BLOCK + BLOCK // 2 - self._x
        dy = at_y * BLOCK + BLOCK // 2 - self._y
        depth = (dx * self._cos + dy * self._sin) >> PLACE_BITS
        side = (dy * self._cos - dx * self._sin) >> PLACE_BITS
        off = ((self._camera * depth) >> DEPTH_BITS) - side
        column = _HALF + (off >> (DEPTH_BITS - TEXEL_BITS))
        portal = block == PORTAL
        half = xp.where(portal, HALF_WIDTH[PORTAL], HALF_WIDTH[APPLE])
        hit = flags & (depth >= NEAR) & (column >= _HALF - half) & (column < _HALF + half)
        base = xp.where(portal, _TEXTURE, 0) + column * TEXELS
        light = depth >> (LIGHT_SHIFT + 1)  # objects shine: they fade half as fast as walls
        light = xp.where(light < LIGHTS, light, LIGHTS - 1) * LIGHTS
        slope = (depth * ROW_SCALE) >> ROW_SHIFT
        for k in range(OBJECTS):
            here = hit & (self.base[k] < 0)
            self.slope[k] = xp.where(here, slope, self.slope[k])
            self.light[k] = xp.where(here, light, self.light[k])
            self.base[k] = xp.where(here, base, self.base[k])
            hit = hit & ~here
