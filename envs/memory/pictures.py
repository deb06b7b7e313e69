"""Pictures of this family, drawn on :class:`envs.core.canvas.Canvas`."""

from __future__ import annotations

import math

import numpy as np

from envs.core.canvas import Canvas
from envs.core.palette import Colour, mix

SUITS = (("club", "ink"), ("diamond", "red"), ("heart", "red"), ("spade", "ink"))


def t_maze_picture(length: int, place: int, south: bool, cue: bool) -> np.ndarray:
    """Return the corridor around the agent and, if it is near, the junction with its arms."""
    first = max(0, min(place - 10, length - 20)) if length > 20 else 0
    last = min(length, first + 20)
    canvas = Canvas.fitted(640, 200, (first - 1.0, last + 2.0, -2.6, 2.6))
    canvas.rectangle(first - 0.5, -0.5, last + 0.5, 0.5, "white", "ink", 2)
    for cell in range(first, last):
        canvas.line((cell + 0.5, -0.45), (cell + 0.5, 0.45), "light", 1)
    if last == length:
        canvas.rectangle(length - 0.5, -2.5, length + 0.5, 2.5, "white", "ink", 2)
        canvas.rectangle(length - 0.45, -0.5, length + 0.45, 0.5, "white")
        prize = -1.8 if south else 1.8
        canvas.circle((length, prize), 0.36, "green")
        canvas.circle((length, -prize), 0.36, "red")
    if first > 0:
        canvas.text((first - 0.75, 0), "...", 14, "grey")
    if cue:
        tip = -1.6 if south else 1.6
        canvas.arrow((place, 0.7 if tip > 0 else -0.7), (place, tip), "blue", 4, 14)
    canvas.circle((place, 0), 0.34, "blue", "ink", 1.5)
    canvas.text((12, 16), f"{length - place} to the junction", 13, "grey", "lm", pixels=True)
    return canvas.array()


def memory_chain_picture(length: int, step: int, bit: int) -> np.ndarray:
    """Return the chain as a bar that fills, from its context to its query."""
    canvas = Canvas(560, 160, (0.0, 14.0), (0.0, 4.0))
    colour = "blue" if bit else "orange"
    share = min(step / length, 1.0)
    canvas.rectangle(2.0, 1.8, 12.0, 2.2, "light")
    canvas.rectangle(2.0, 1.8, 2.0 + 10.0 * share, 2.2, "grey")
    canvas.circle((1.2, 2.0), 0.6, colour if step == 0 else "light", colour, 2.5)
    canvas.text((1.2, 2.0), "+1" if bit else "-1", 15, "white" if step == 0 else colour)
    canvas.circle((12.8, 2.0), 0.6, "green" if step >= length else "light", "green", 2.5)
    canvas.text((12.8, 2.0), "?", 18, "white" if step >= length else "green")
    canvas.dot((2.0 + 10.0 * share, 2.0), 9, "ink")
    canvas.text((7.0, 1.0), f"{min(step, length)} of {length}", 13, "grey")
    return canvas.array()


def cards_picture(suits: list[int], k: int, last: int) -> np.ndarray:
    """Return the current card in full and up to eight before it, dimmed; the one asked for ringed.

    Args:
        suits: Oldest first, the current one last.
        k: How far back the question goes.
        last: Number of the current card, from 0.
    """
    canvas = Canvas(600, 180, (0.0, 10.0), (0.0, 3.0))
    for back, suit in enumerate(reversed(suits)):
        x, name = 9.3 - 1.05 * back, SUITS[suit]
        ink = name[1] if back == 0 else mix(name[1], "paper", 0.55)
        rim, wide = ("green", 4.0) if back == k else (ink, 1.5)
        canvas.rectangle(x - 0.45, 0.9, x + 0.45, 2.3, "white", rim, wide)
        _suit(canvas, name[0], x, 1.6, ink)
    canvas.text((9.3, 0.5), "now", 13, "ink")
    note = f"card {last + 1}: " + ("no question yet" if last < k else f"which suit {k} cards ago?")
    canvas.text((14, 18), note, 14, "grey", "lm", pixels=True)
    return canvas.array()


def _suit(canvas: Canvas, name: str, x: float, y: float, colour: Colour) -> None:
    if name == "diamond":
        corners = [(x, y + 0.42), (x + 0.28, y), (x, y - 0.42), (x - 0.28, y)]
        canvas.polygon(corners, colour)
        return
    tip = -1.0 if name == "heart" else 1.0
    if name == "club":
        for dx, dy in ((0.0, 0.2), (-0.17, -0.06), (0.17, -0.06)):
            canvas.circle((x + dx, y + dy), 0.17, colour)
    else:
        for side in (-0.15, 0.15):
            canvas.circle((x + side, y - 0.1 * tip), 0.17, colour)
        wings = [(x - 0.31, y - 0.03 * tip), (x + 0.31, y - 0.03 * tip), (x, y + 0.4 * tip)]
        canvas.polygon(wings, colour)
    if name != "heart":
        canvas.polygon([(x, y), (x - 0.12, y - 0.42), (x + 0.12, y - 0.42)], colour)


def balance_picture(x: float, angle: float, track: float) -> np.ndarray:
    """Return the track, the cart and its pole (1 m long), blurred: no speed is seen."""
    view = track + 0.6
    canvas = Canvas(600, 240, (-view, view), (-0.7, -0.7 + 2 * view * 240 / 600))
    canvas.line((-track, 0), (track, 0), "grey", 3)
    for end in (-track, track):
        canvas.line((end, -0.15), (end, 0.15), "red", 4)
    canvas.rectangle(x - 0.25, -0.14, x + 0.25, 0.14, "blue", "ink", 1.5)
    tip = (x + math.sin(angle), math.cos(angle))
    limit = 12 * math.pi / 180
    for side in (-limit, limit):
        leaning = (x + 1.1 * math.sin(side), 1.1 * math.cos(side))
        canvas.line((x, 0), leaning, "light", 1.5)
    canvas.line((x, 0), tip, mix("green", "red", min(abs(angle) / limit, 1.0)), 9.0)
    canvas.dot((x, 0), 5, "ink")
    return canvas.array()


def catch_picture(rows: int, columns: int, ball: int, row: int, paddle: int) -> np.ndarray:
    """Return the board with its ball and paddle."""
    side = max(6, 320 // max(rows, columns))
    ranges = (0.0, float(columns)), (float(rows), 0.0)
    canvas = Canvas(columns * side, rows * side, *ranges, background="night")
    for line in range(1, max(rows, columns)):
        canvas.line((line, 0), (line, rows), "#2b303b", 1)
        canvas.line((0, line), (columns, line), "#2b303b", 1)
    canvas.rectangle(paddle, rows - 0.8, paddle + 1, rows - 0.2, "sky")
    canvas.circle((ball + 0.5, min(row, rows - 1) + 0.5), 0.36, "orange")
    return canvas.array()


def key_door_picture(state: dict[str, int], size: int, view: int | None) -> np.ndarray:
    """Return the rooms from above, y down; ``state`` is one row of the model's."""
    side = max(6, 364 // size)
    canvas = Canvas(size * side, size * side, (0.0, size), (float(size), 0.0), "white")
    for k in range(size):
        for r, c in ((0, k), (size - 1, k), (k, 0), (k, size - 1), (k, state["wall"])):
            canvas.rectangle(c, r, c + 1, r + 1, "grey")
    wall, door = state["wall"], state["door"]
    fill = "white" if state["open"] else "yellow"
    canvas.rectangle(wall + 0.06, door + 0.06, wall + 0.94, door + 0.94, fill, "brown", 3)
    column, row = state["goal_column"], state["goal_row"]
    canvas.rectangle(column + 0.1, row + 0.1, column + 0.9, row + 0.9, "mint", "green", 2)
    if not state["has_key"]:
        _key(canvas, state["key_column"] + 0.5, state["key_row"] + 0.5, 1.0)
    x, y = state["column"] + 0.5, state["row"] + 0.5
    canvas.circle((x, y), 0.34, "blue", "ink", 1.5)
    if state["has_key"]:
        _key(canvas, x, y, 0.6)
    if view is not None:
        low, high = -view // 2 + 1 - 0.5, view // 2 + 0.5
        for box in (
            (0.0, 0.0, float(size), y + low),
            (0.0, y + high, float(size), float(size)),
            (0.0, y + low, x + low, y + high),
            (x + high, y + low, float(size), y + high),
        ):
            if box[0] < box[2] and box[1] < box[3]:
                canvas.rectangle(*box, "#22262ea0")
    return canvas.array()


def _key(canvas: Canvas, x: float, y: float, scale: float) -> None:
    colour = "orange"
    canvas.circle((x - 0.15 * scale, y), 0.17 * scale, None, colour, 4 * scale)
    canvas.line((x, y), (x + 0.33 * scale, y), colour, 4 * scale)
    for tooth in (0.2, 0.31):
        canvas.line(
            (x + tooth * scale, y), (x + tooth * scale, y + 0.16 * scale), colour, 3 * scale
        )
