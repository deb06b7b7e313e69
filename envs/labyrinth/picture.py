"""Pictures for people: the map from above, and the player's view beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core.canvas import Canvas
from envs.labyrinth.arrays import NumpyArrays
from envs.labyrinth.textures import make_paint
from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    DEPTH,
    FREE,
    HEADINGS,
    PORTAL,
    ROW_SCALE,
    ROW_SHIFT,
    SIDE,
    TEXELS,
    WALLS,
    ray_tables,
)
from envs.labyrinth.view import View

HEIGHT, SCALE, BAR = 420, 5, 28
FLOOR, FLOOR_DARK, GOLD = "#c9a878", "#bd9a68", "#f0c848"


def top_down(state: dict[str, Any]) -> np.ndarray:
    """Return the map of row 0, uint8 ``[448, 420, 3]``: walls, apples, portal, player, its view."""
    blocks = np.asarray(state["blocks"][0]).reshape(SIDE, SIDE)
    across = 2 * int(state["cells"][0]) + 1
    margin = BAR * across / HEIGHT
    canvas = Canvas(HEIGHT, HEIGHT + BAR, (0, across), (across, -margin), background="night")
    colours = _wall_colours()
    for y in range(across):
        for x in range(across):
            block = blocks[y, x]
            wall = block != FREE and block <= WALLS
            fill = colours[block] if wall else (FLOOR if (x + y) % 2 else FLOOR_DARK)
            canvas.rectangle(x, y, x + 1, y + 1, fill=fill)
    canvas.polygon(_seen(state), fill=(255, 244, 200, 110))
    for y, x in np.argwhere((blocks == APPLE) | (blocks == PORTAL)):
        _thing(canvas, x + 0.5, y + 0.5, bool(blocks[y, x] == PORTAL))
    _player(canvas, state)
    apples, portals = int(state["apples"][0]), int(state["portals"][0])
    text = f"portals {portals}    apples {apples}    reward {10 * portals + apples}"
    canvas.text((HEIGHT / 2, BAR / 2), text, 14, "light", pixels=True)
    return canvas.array()


def both(state: dict[str, Any], view: np.ndarray) -> np.ndarray:
    """Return the view of row 0, enlarged, beside its map, uint8 ``[448, 848, 3]``."""
    large = view.repeat(SCALE, 0).repeat(SCALE, 1)
    left = np.full((HEIGHT + BAR, HEIGHT + 8, 3), (24, 27, 34), np.uint8)
    left[BAR:, :HEIGHT] = large
    return np.concatenate([left, top_down(state)], 1)


def _wall_colours() -> list[tuple[int, int, int]]:
    """Return the mean colour of each wall texture in full light."""
    paint = make_paint(ray_tables())
    packed = paint.colours[paint.walls.reshape(-1, TEXELS * TEXELS)]
    means = [(packed >> shift & 255).mean(1) for shift in (0, 8, 16)]
    return [(int(r), int(g), int(b)) for r, g, b in np.stack(means, -1).round()]


def _seen(state: dict[str, Any]) -> np.ndarray:
    """Return the corners of the part of the floor that the player sees."""
    rays = ray_tables()
    view = View(NumpyArrays(), rays, make_paint(rays))
    row = [np.asarray(state[name][:1]) for name in ("blocks", "x", "y", "heading")]
    columns = view.cast(row[0], row[1].astype(np.int32), row[2].astype(np.int32), row[3])
    depth = columns.slope[0] * (2.0**ROW_SHIFT / ROW_SCALE / DEPTH)
    heading = int(row[3][0])
    ways = np.stack([rays.ray_x[heading], rays.ray_y[heading]], -1) / DEPTH
    here = np.array([row[1][0], row[2][0]]) / BLOCK
    return np.concatenate([here[None], here + ways * depth[:, None]])


def _thing(canvas: Canvas, x: float, y: float, portal: bool) -> None:
    if portal:
        canvas.circle((x, y), 0.42, fill="#7a3fc0", outline="#f6d8ff", width=2)
        canvas.circle((x, y), 0.2, fill="#d9a8ff")
        return
    canvas.circle((x, y + 0.03), 0.24, fill="#d62b2b", outline="#5e0b12", width=1)
    canvas.circle((x + 0.1, y - 0.24), 0.09, fill="#66aa4c")


def _player(canvas: Canvas, state: dict[str, Any]) -> None:
    x, y = float(state["x"][0]) / BLOCK, float(state["y"][0]) / BLOCK
    turn = 2 * np.pi * float(state["heading"][0]) / HEADINGS
    ahead, right = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    here = np.array([x, y])
    tip, tail = here + 0.42 * ahead, here - 0.28 * ahead
    corners = [tip, tail + 0.3 * right, here - 0.12 * ahead, tail - 0.3 * right]
    canvas.polygon(corners, fill="blue", outline="white", width=1.5)
