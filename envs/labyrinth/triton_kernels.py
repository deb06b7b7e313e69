"""GPU kernels of the raycaster: one lane a ray, then one lane a pixel.

The sums are those of :mod:`envs.labyrinth.view`, in integers of 32 bits, so the pictures are equal
bit for bit. Right shifts of negative numbers round down; nothing negative is divided.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from envs.labyrinth import textures, units

SIZE = tl.constexpr(units.SIZE)
SIDE = tl.constexpr(units.SIDE)
BLOCKS = tl.constexpr(units.SIDE * units.SIDE)
UNIT = tl.constexpr(units.BLOCK)
PLACE_BITS = tl.constexpr(units.PLACE_BITS)
DEPTH_BITS = tl.constexpr(units.DEPTH_BITS)
FAR_SHIFT = tl.constexpr(2 * units.DEPTH_BITS - units.PLACE_BITS)
FINE = tl.constexpr(units.PLACE_BITS - units.TEXEL_BITS)
THING_FINE = tl.constexpr(units.DEPTH_BITS - units.TEXEL_BITS)
TEXELS = tl.constexpr(units.TEXELS)
HALF = tl.constexpr(units.TEXELS // 2)
TEXTURE = tl.constexpr(units.TEXELS * units.TEXELS)
ROW_SCALE = tl.constexpr(units.ROW_SCALE)
ROW_SHIFT = tl.constexpr(units.ROW_SHIFT)
WALLS = tl.constexpr(units.WALLS)
APPLE = tl.constexpr(units.APPLE)
PORTAL = tl.constexpr(units.PORTAL)
APPLE_HALF = tl.constexpr(units.HALF_WIDTH[units.APPLE])
PORTAL_HALF = tl.constexpr(units.HALF_WIDTH[units.PORTAL])
NEAR = tl.constexpr(units.NEAR)
LIGHTS = tl.constexpr(textures.LIGHTS)
LIGHT_SHIFT = tl.constexpr(textures.LIGHT_SHIFT)
SIDE_LIGHT = tl.constexpr(textures.SIDE_LIGHT)


@triton.jit
def cast_kernel(blocks, xs, ys, headings, forward, camera, ray_xs, ray_ys, cross_xs, cross_ys,
                columns, things, rays, BLOCK: tl.constexpr):  # fmt: skip
    """Walk one ray a lane.

    ``columns`` gets slope and base | light << 16, int32 ``[2, rays]``; ``things`` the same of three
    objects, ``[3, 2, rays]``, with -1 for the second number where there is none.
    """
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = ray < rays
    player = ray // SIZE
    column = ray % SIZE
    x = tl.load(xs + player, mask=real, other=UNIT).to(tl.int32)
    y = tl.load(ys + player, mask=real, other=UNIT).to(tl.int32)
    heading = tl.load(headings + player, mask=real, other=0).to(tl.int32)
    entry = heading * SIZE + column
    ray_x, ray_y = tl.load(ray_xs + entry), tl.load(ray_ys + entry)
    cross_x, cross_y = tl.load(cross_xs + entry), tl.load(cross_ys + entry)
    cos, sin = tl.load(forward + 2 * heading), tl.load(forward + 2 * heading + 1)
    sideways = tl.load(camera + column)
    off_x, off_y = x & (UNIT - 1), y & (UNIT - 1)
    next_x = (tl.where(ray_x < 0, off_x, UNIT - off_x) * cross_x) >> PLACE_BITS
    next_y = (tl.where(ray_y < 0, off_y, UNIT - off_y) * cross_y) >> PLACE_BITS
    step_x, step_y = tl.where(ray_x < 0, -1, 1), tl.where(ray_y < 0, -SIDE, SIDE)
    at = (y >> PLACE_BITS) * SIDE + (x >> PLACE_BITS)
    first = blocks + player.to(tl.int64) * BLOCKS
    zero = ray * 0
    depth, found, across = zero, zero, zero
    slope0, slope1, slope2 = zero, zero, zero
    thing0, thing1, thing2 = zero - 1, zero - 1, zero - 1
    live = tl.where(real, 1, 0)
    while tl.max(live, 0) > 0:
        go = live > 0
        turn = next_x < next_y
        across = tl.where(go, tl.where(turn, 1, 0), across)
        depth = tl.where(go, tl.where(turn, next_x, next_y), depth)
        next_x = next_x + tl.where(go & turn, cross_x, 0)
        next_y = next_y + tl.where(go & (turn == 0), cross_y, 0)
        at = at + tl.where(go, tl.where(turn, step_x, step_y), 0)
        block = tl.load(first + at, mask=go, other=0).to(tl.int32)
        wall = go & (block > 0) & (block <= WALLS)
        found = tl.where(wall, block, found)
        live = tl.where(wall, 0, live)
        portal = block == PORTAL
        thing = go & (portal | (block == APPLE))
        if tl.max(tl.where(thing, 1, 0), 0) > 0:
            at_y = at // SIDE
            dx = (at - at_y * SIDE) * UNIT + UNIT // 2 - x
            dy = at_y * UNIT + UNIT // 2 - y
            far = (dx * cos + dy * sin) >> PLACE_BITS
            side = (dy * cos - dx * sin) >> PLACE_BITS
            texel = HALF + ((((sideways * far) >> DEPTH_BITS) - side) >> THING_FINE)
            half = tl.where(portal, PORTAL_HALF, APPLE_HALF)
            hit = thing & (far >= NEAR) & (texel >= HALF - half) & (texel < HALF + half)
            slope = (far * ROW_SCALE) >> ROW_SHIFT
            light = tl.minimum(far >> (LIGHT_SHIFT + 1), LIGHTS - 1) * LIGHTS
            packed = (tl.where(portal, TEXTURE, 0) + texel * TEXELS) | (light << 16)
            here = hit & (thing0 < 0)
            slope0, thing0 = tl.where(here, slope, slope0), tl.where(here, packed, thing0)
            hit = hit & (here == 0)
            here = hit & (thing1 < 0)
            slope1, thing1 = tl.where(here, slope, slope1), tl.where(here, packed, thing1)
            hit = hit & (here == 0)
            here = hit & (thing2 < 0)
            slope2, thing2 = tl.where(here, slope, slope2), tl.where(here, packed, thing2)
    met_x = y + ((depth * ray_y) >> FAR_SHIFT)
    met_y = x + ((depth * ray_x) >> FAR_SHIFT)
    texel = (tl.where(across > 0, met_x, met_y) >> FINE) & (TEXELS - 1)
    light = tl.minimum((depth >> LIGHT_SHIFT) + across * SIDE_LIGHT, LIGHTS - 1) * LIGHTS
    tl.store(columns + ray, (depth * ROW_SCALE) >> ROW_SHIFT, mask=real)
    tl.store(columns + rays + ray, (found * TEXTURE + texel * TEXELS) | (light << 16), mask=real)
    tl.store(things + ray, slope0, mask=real)
    tl.store(things + rays + ray, thing0, mask=real)
    tl.store(things + 2 * rays + ray, slope1, mask=real)
    tl.store(things + 3 * rays + ray, thing1, mask=real)
    tl.store(things + 4 * rays + ray, slope2, mask=real)
    tl.store(things + 5 * rays + ray, thing2, mask=real)


@triton.jit
def _over(colour, things, slot: tl.constexpr, rays, ray, row, real, texture, colours):
    """Paint the object in ``slot`` over ``colour``."""
    packed = tl.load(things + (2 * slot + 1) * rays + ray, mask=real, other=-1)
    slope = tl.load(things + 2 * slot * rays + ray, mask=real, other=0)
    texel = HALF + ((row * slope) >> 16)
    seen = (packed >= 0) & (texel >= 0) & (texel < TEXELS)
    number = tl.load(texture + (packed & 0xFFFF) + texel, mask=seen, other=0).to(tl.int32)
    shown = seen & (number > 0)
    thing = tl.load(colours + (packed >> 16) + number, mask=shown, other=0)
    return tl.where(shown, thing, colour)


@triton.jit
def pixel_kernel(xs, ys, headings, ray_xs, ray_ys, floor_depth, walls, thing_texture, floor,
                 colours, sky, floor_light, columns, things, pictures, rays,
                 BLOCK: tl.constexpr):  # fmt: skip
    """Paint one pixel a lane; the second axis of programs runs over players."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    player = tl.program_id(1)
    real = pixel < SIZE * SIZE
    down = pixel // SIZE
    column = pixel % SIZE
    row = 2 * down + 1 - SIZE
    ray = player * SIZE + column
    slope = tl.load(columns + ray, mask=real, other=0)
    packed = tl.load(columns + rays + ray, mask=real, other=0)
    texel = HALF + ((row * slope) >> 16)
    on_wall = (texel >= 0) & (texel < TEXELS) & real
    on_floor = (texel >= TEXELS) & real
    number = tl.load(walls + (packed & 0xFFFF) + texel, mask=on_wall, other=0).to(tl.int32)
    light = packed >> 16
    x = tl.load(xs + player).to(tl.int32)
    y = tl.load(ys + player).to(tl.int32)
    entry = tl.load(headings + player).to(tl.int32) * SIZE + column
    depth = tl.load(floor_depth + down, mask=on_floor, other=0)
    to_x = x + ((depth * tl.load(ray_xs + entry, mask=on_floor, other=0)) >> FAR_SHIFT)
    to_y = y + ((depth * tl.load(ray_ys + entry, mask=on_floor, other=0)) >> FAR_SHIFT)
    tile = ((to_y >> FINE) & (TEXELS - 1)) * TEXELS + ((to_x >> FINE) & (TEXELS - 1))
    ground = tl.load(floor + tile, mask=on_floor, other=0).to(tl.int32)
    ground_light = tl.load(floor_light + down, mask=on_floor, other=0)
    lit = tl.where(on_floor, ground_light + ground, light + number)
    colour = tl.load(colours + lit, mask=on_wall | on_floor, other=0)
    above = tl.load(sky + down, mask=real & (texel < 0), other=0)
    colour = tl.where(texel < 0, above, colour)
    nearest = tl.load(things + rays + ray, mask=real, other=-1)
    if tl.max(nearest, 0) >= 0:
        colour = _over(colour, things, 2, rays, ray, row, real, thing_texture, colours)
        colour = _over(colour, things, 1, rays, ray, row, real, thing_texture, colours)
        colour = _over(colour, things, 0, rays, ray, row, real, thing_texture, colours)
    out = pictures + (player.to(tl.int64) * (SIZE * SIZE) + pixel) * 3
    tl.store(out, (colour & 255).to(tl.uint8), mask=real)
    tl.store(out + 1, ((colour >> 8) & 255).to(tl.uint8), mask=real)
    tl.store(out + 2, ((colour >> 16) & 255).to(tl.uint8), mask=real)
