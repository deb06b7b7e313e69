"""Textures as numbers of colours, and the colours at every distance.

A texel is a number of 6 bits: a ramp (a material's hue) and one of its eight shades. What is drawn
is ``colours[light, number]``: the palette, faded towards dusk with distance. One look-up a pixel
gives texture, shading and fog together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.labyrinth.draws import draw
from envs.labyrinth.units import SIZE, TEXELS, RayTables

LIGHTS, LIGHT_SHIFT = 64, 10
"""Levels of light, one for each quarter of a block of depth."""
SIDE_LIGHT = 5
"""Levels by which walls that face east and west are darker."""
DUSK = np.array([38.0, 40.0, 66.0])
"""What everything fades to."""

THINGS, BRICK, STONE, SAND, MOSS, TILE, WOOD, GLOW = (8 * k for k in range(8))
RAMPS = (
    ("#2f6b3a", "#66aa4c"),  # leaves; the ramp of things is completed below
    ("#4a1f1a", "#c9714f"),
    ("#3a3d45", "#b9bcc0"),
    ("#5d4630", "#ecd3a0"),
    ("#22361f", "#8fae5e"),
    ("#142f4f", "#8cc4dd"),
    ("#3a2414", "#b98a52"),
    ("#2b0f52", "#f6d8ff"),
)
"""Darkest and lightest colour of each ramp."""
RED = ("#5e0b12", "#a3161c", "#d62b2b", "#f46a55")
"""Shades of an apple, numbers 1 to 4; 0 lets through what lies behind, 5 and 6 are leaves."""


@dataclass(frozen=True)
class Paint:
    """Everything that gives pixels their colours.

    Attributes:
        walls: Texels by texture, across and down, uint8 ``[9 * 32 * 32]``; texture 0 is unused.
        things: Texels of the apple and of the portal, uint8 ``[2 * 32 * 32]``.
        floor: Texels by y and x, uint8 ``[32 * 32]``.
        colours: Red, green << 8 and blue << 16 by light and number, int32 ``[64 * 64]``.
        sky: The colour of each row of sky, int32 ``[84]``.
        floor_light: The light of each row of floor, times 64, int32 ``[84]``.
    """

    walls: np.ndarray
    things: np.ndarray
    floor: np.ndarray
    colours: np.ndarray
    sky: np.ndarray
    floor_light: np.ndarray


def make_paint(rays: RayTables) -> Paint:
    """Return the textures and colours."""
    walls = [np.zeros((TEXELS, TEXELS)), _bricks(), _blocks(STONE, 16, 16), _blocks(SAND, 32, 8)]
    walls += [_moss(), _tiles(), _planks(), _sun(_blocks(STONE, 16, 16)), _moon(_bricks())]
    down_light = np.minimum(rays.floor_depth >> LIGHT_SHIFT, LIGHTS - 1) * LIGHTS
    return Paint(
        walls=np.stack([wall.T for wall in walls]).astype(np.uint8).reshape(-1),
        things=np.stack([_apple().T, _portal().T]).astype(np.uint8).reshape(-1),
        floor=_flags().astype(np.uint8).reshape(-1),
        colours=_packed(_lit()).reshape(-1),
        sky=_packed(_sky()),
        floor_light=down_light.astype(np.int32),
    )


def _rgb(text: str) -> np.ndarray:
    return np.array(list(bytes.fromhex(text[1:])), float)


def _packed(colours: np.ndarray) -> np.ndarray:
    whole = np.rint(np.round(colours, 6)).astype(np.int32)
    return np.asarray(whole[..., 0] | whole[..., 1] << 8 | whole[..., 2] << 16)


def _lit() -> np.ndarray:
    share = np.linspace(0, 1, 8)[:, None]
    palette = np.concatenate([_rgb(a) * (1 - share) + _rgb(b) * share for a, b in RAMPS])
    palette[1:5] = [_rgb(red) for red in RED]
    palette[5:7] = [_rgb(leaf) for leaf in RAMPS[0]]
    palette[7] = _rgb("#fff3c4")
    depth = (np.arange(LIGHTS) + 0.5) / 4
    seen = np.exp(-0.17 * np.maximum(depth - 0.5, 0))[:, None, None]
    return np.asarray(DUSK + (palette - DUSK) * seen)


def _sky() -> np.ndarray:
    height = np.linspace(1, 0, SIZE // 2)[:, None]
    top, middle, low = _rgb("#1b2450"), _rgb("#6a4c7d"), _rgb("#e79a6b")
    upper, lower = np.clip(height * 2 - 1, 0, 1), np.clip(height * 2, 0, 1)
    dusk = low + (middle - low) * lower + (top - middle) * upper
    return np.concatenate([dusk, dusk[::-1]])  # rows below the middle are never sky


def _grain(seed: int) -> np.ndarray:
    """Return noise ``[32, 32]`` from 0 to 1."""
    counter = np.arange(TEXELS * TEXELS, dtype=np.int64)
    return np.asarray(draw(seed, counter)).reshape(TEXELS, TEXELS) / 2.0**32


def _shades(ramp: int, shade: np.ndarray) -> np.ndarray:
    return np.asarray(ramp + np.clip(np.floor(shade), 0, 7))


def _courses(width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the joints of a wall laid in courses, a number for each brick, and rows from its top.

    Every other course is shifted by half a brick.
    """
    y, x = np.mgrid[:TEXELS, :TEXELS]
    course = y // height
    along = (x + course % 2 * (width // 2)) % TEXELS
    joint = (y % height == height - 1) | (along % width == width - 1)
    return joint, course * 8 + along // width, y % height


def _laid(ramp: int, width: int, height: int, base: float, seed: int) -> np.ndarray:
    joint, brick, down = _courses(width, height)
    own = np.asarray(draw(seed, brick.astype(np.int64))) / 2.0**32
    shade = base + 1.6 * own + 1.3 * _grain(seed) + 0.9 * (down == 0)
    return _shades(ramp, np.where(joint, 1 + _grain(seed + 1), shade))


def _bricks() -> np.ndarray:
    return _laid(BRICK, 16, 8, 3.2, 11)


def _blocks(ramp: int, width: int, height: int) -> np.ndarray:
    return _laid(ramp, width, height, 3.4, 23 + ramp)


def _moss() -> np.ndarray:
    stones = _laid(STONE, 16, 16, 2.2, 5)
    y, x = np.mgrid[:TEXELS, :TEXELS]
    edge = 14 + 5 * np.sin(2 * np.pi * x / 16) + 3 * np.sin(2 * np.pi * x / 32 + 1)
    grown = y + 9 * _grain(6) > edge + 4
    return np.where(grown, _shades(MOSS, 2 + 4 * _grain(7) + (y < edge + 2)), stones)


def _tiles() -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    joint = (x % 8 == 7) | (y % 8 == 7)
    checked = (x // 8 + y // 8) % 2
    shade = 3 + 2 * checked + 1.2 * _grain(31) + (x % 8 == 0) + (y % 8 == 0)
    return _shades(TILE, np.where(joint, 1, shade))


def _planks() -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    own = np.asarray(draw(41, (x // 8).astype(np.int64))) / 2.0**32
    grain = np.sin(0.9 * x + 1.5 * np.sin(0.35 * y + 7 * own))
    nail = (x % 8 == 3) & ((y == 3) | (y == 28))
    shade = 3 + 2 * own + 1.3 * grain
    return _shades(WOOD, np.where((x % 8 == 7) | nail, 0.5, shade))


def _disc(x0: float, y0: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    return np.asarray((x - x0) ** 2 + (y - y0) ** 2 <= radius**2)


def _sun(wall: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    turn = np.arctan2(y - 15.5, x - 15.5)
    rays = _disc(15.5, 15.5, 11.5) & (np.round(np.cos(8 * turn), 6) > 0)
    panel = np.where(_disc(15.5, 15.5, 14), _shades(TILE, np.full_like(wall, 1)), wall)
    return np.where(_disc(15.5, 15.5, 6.5), SAND + 7, np.where(rays, SAND + 5, panel))


def _moon(wall: np.ndarray) -> np.ndarray:
    panel = np.where(_disc(15.5, 15.5, 14), _shades(GLOW, np.full_like(wall, 1)), wall)
    moon = _disc(14.5, 15.5, 9) & ~_disc(18.5, 13.5, 8)
    return np.where(moon, GLOW + 7, panel)


def _flags() -> np.ndarray:
    """Return floor tiles: four to a block, two of them darker."""
    y, x = np.mgrid[:TEXELS, :TEXELS]
    joint = (x % 16 == 15) | (y % 16 == 15)
    checked = (x // 16 + y // 16) % 2
    return _shades(WOOD, np.where(joint, 0.5, 2 + 2.6 * checked + 1.4 * _grain(51)))


def _apple() -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    body = _disc(12.7, 23.6, 6.1) | _disc(18.3, 23.6, 6.1)
    shade = np.clip(3.4 - 0.24 * np.hypot(x - 12, y - 20.5), 0, 3).round() + 1
    thing = np.where(body, shade, 0)
    thing = np.where((x == 16) & (y >= 14) & (y < 19), WOOD + 2, thing)
    thing = np.where(_disc(19.2, 15.0, 2.3), 5 + (y < 15), thing)
    return np.where((x >= 11) & (x <= 12) & (y >= 20) & (y <= 21), 7, thing)


def _portal() -> np.ndarray:
    y, x = np.mgrid[:TEXELS, :TEXELS]
    across, down = (x - 15.5) / 13, (y - 16.0) / 15
    far = np.hypot(across, down)
    swirl = np.sin(9 * far + 2 * np.arctan2(down, across))
    shade = 7 * (0.55 + 0.45 * np.round(swirl, 6)) * np.clip(1.25 - 0.5 * far, 0, 1)
    thing = np.where(far <= 1, _shades(GLOW, shade + 0.5), 0)
    return np.where((far > 0.86) & (far <= 1), GLOW + 6 + (x + y) % 2, thing)
