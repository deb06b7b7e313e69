"""Pictures of this family, drawn on :class:`envs.core.canvas.Canvas`."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.core import State
from envs.core.canvas import Canvas
from envs.core.palette import mix
from envs.subtasks.f110 import ray_directions
from envs.subtasks.tracks import RANGE, TRACKS, Track, scan
from envs.subtasks.walls import INNER, LANE_LEFT, LANE_RIGHT, LANE_TOP, OUTER, Walls

WIDTH, HEIGHT = 480, 540
ARROWS = {"left": "\N{LEFTWARDS ARROW}", "right": "\N{RIGHTWARDS ARROW}", "up": "\N{UPWARDS ARROW}"}


def rooms_picture(model: Any, state: State) -> np.ndarray:
    """Return the room seen from above, the way walked in it, and the task."""
    canvas = Canvas(WIDTH, HEIGHT, (-6.6, 6.6), (-6.5, 8.35), background="paper")
    subtask, walls = int(state["subtask"][0]), model.game.walls
    _draw_room(canvas, walls)
    if model.id.endswith("grid-rooms-v0"):
        _draw_cells(canvas)
    _draw_exit(canvas, walls, model.game.names[subtask])
    path = _path(state)
    if len(path) > 1:
        canvas.polyline(path, "sky", 2.5)
    for point in path[:-1]:
        canvas.dot(point, 2.5, "blue")
    canvas.dot(path[-1], 9, "#e88e2c55")
    canvas.dot(path[-1], 6, "orange")
    names = [ARROWS[name] for name in model.game.names]
    _draw_task(canvas, model, state, names)
    return canvas.array()


def _draw_room(canvas: Canvas, walls: Walls) -> None:
    canvas.rectangle(-OUTER, -OUTER, OUTER, OUTER, fill="#59616e")
    canvas.rectangle(-INNER, -INNER, INNER, INNER, fill="white")
    for low, high in walls.left:
        canvas.rectangle(-OUTER, low, -INNER, high, fill="white")
    for low, high in walls.right:
        canvas.rectangle(INNER, low, OUTER, high, fill="white")
    for low, high in walls.top:
        canvas.rectangle(low, INNER, high, OUTER, fill="white")
    for low, high in walls.bottom:
        canvas.rectangle(low, -OUTER, high, -INNER, fill="white")
    if walls.lane:
        canvas.rectangle(LANE_LEFT, -INNER, LANE_RIGHT, LANE_TOP, fill="#f6e3df")
        canvas.rectangle(walls.bottom[0][0], -OUTER, LANE_RIGHT, -INNER, fill="#f6e3df")
        corners = [(LANE_LEFT, LANE_TOP), (LANE_RIGHT, LANE_TOP), (LANE_RIGHT, -OUTER)]
        canvas.polyline(corners, "red", 3.5)


def _draw_cells(canvas: Canvas) -> None:
    for at in np.arange(-OUTER + 1, OUTER):
        canvas.line((at, -OUTER), (at, OUTER), "#22262e22", 1)
        canvas.line((-OUTER, at), (OUTER, at), "#22262e22", 1)


def _draw_exit(canvas: Canvas, walls: Walls, name: str) -> None:
    """Mark the half of the wall that completes the subtask."""
    if name == "up":
        for low, high in walls.top:
            canvas.rectangle(low, INNER + 1, high, OUTER, fill="mint")
    else:
        doors, side = (walls.left, -1) if name == "left" else (walls.right, 1)
        for low, high in doors:
            ends = sorted((side * (INNER + 1), side * OUTER))
            canvas.rectangle(ends[0], low, ends[1], high, fill="mint")


def _path(state: State) -> np.ndarray:
    count = int(state["steps"][0]) + 1
    return state["trail"][0, :count].astype(float)


def _draw_task(canvas: Canvas, model: Any, state: State, names: list[str]) -> None:
    """Write the task on top: done, current, to come (as far as it is decided)."""
    done, k = int(state["completed"][0]), model.k
    first = max(0, min(done - 3, k - 12))
    for place, at in enumerate(range(first, min(k, first + 12))):
        x, number = 22 + 30 * place, int(state["task"][0, at])
        text = names[number] if number >= 0 else "?"
        colour = "green" if at < done else "orange" if at == done else "grey"
        canvas.text((x, 26), text, 24 if at == done else 18, colour, pixels=True)
    steps = int(state["steps"][0])
    right = f"{done} of {k} done\nstep {steps} of {model.steps_allowed}"
    canvas.text((canvas.width - 14, 26), right, 13, "ink", "rm", pixels=True)


def f110_picture(model: Any, state: State) -> np.ndarray:
    """Return the track seen from above, the car with its rays and its path, and the task."""
    track = TRACKS[int(state["subtask"][0])]
    canvas = Canvas.fitted(WIDTH, HEIGHT, (-5.6, 5.6, -10.6, 2.4), margin=10, background="#e9e6dd")
    _draw_hall(canvas, track)
    car = state["state"][:1]
    _draw_rays(canvas, track, car, min(model.game.n_rays, 121))
    path = _path(state)
    if len(path) > 1:
        canvas.polyline(path, "orange", 2.5)
    _draw_car(canvas, car[0])
    canvas.rectangle(-20, 1.35, 20, 20, fill="paper")
    short = [_short(one.name) for one in TRACKS]
    _draw_task(canvas, model, state, short)
    speed = f"{track.name}   {car[0, 2]:.2f} m/s"
    canvas.text((14, HEIGHT - 16), speed, 13, "ink", "lm", halo="#e9e6dd", pixels=True)
    return canvas.array()


def _short(name: str) -> str:
    kind, _, side = name.partition("-")
    signs = {"straight": "\N{UPWARDS ARROW}", "square": "S", "sharp": "V"}
    arrow = {"left": "\N{LEFTWARDS ARROW}", "right": "\N{RIGHTWARDS ARROW}"}
    return arrow.get(side, signs[kind]) if kind == "square" or not side else "V" + arrow[side]


def _draw_hall(canvas: Canvas, track: Track) -> None:
    outer, inner = track.walls
    canvas.polygon(np.concatenate([outer, inner[::-1]]), fill="white")
    for wall in track.walls:
        canvas.polyline(wall, "ink", 4)
    place, heading = np.array(track.goal[:2]), track.goal[2]
    across = np.array([-np.sin(heading), np.cos(heading)]) * 0.75
    if track.turn:  # the line is x = constant, whatever the hall's direction
        across = np.array([0.0, 0.75 / abs(np.cos(heading))])
    canvas.polyline([place + across, place - across], "green", 4)


def _draw_rays(canvas: Canvas, track: Track, car: np.ndarray, count: int) -> None:
    rays = ray_directions(count)
    measured = scan(track, car, rays)[0]
    cosine, sine = np.cos(car[0, 3]), np.sin(car[0, 3])
    world = np.stack([cosine * rays[0] - sine * rays[1], sine * rays[0] + cosine * rays[1]])
    ends = car[0, :2] + (world * measured).T
    for end, length in zip(ends, measured, strict=True):
        colour = mix("red", "blue", min(1.0, length / RANGE))[:3]
        canvas.polyline([car[0, :2], end], (*colour, 70), 1)
        if length < RANGE:
            canvas.dot(end, 2, (*colour, 255))


def _draw_car(canvas: Canvas, car: np.ndarray) -> None:
    x, y, _, heading = car
    ahead = np.array([np.cos(heading), np.sin(heading)])
    aside = np.array([-ahead[1], ahead[0]])
    outline = [(0.26, 0.09), (0.3, 0.0), (0.26, -0.09), (-0.22, -0.13), (-0.22, 0.13)]
    corners = [np.array([x, y]) + along * ahead + across * aside for along, across in outline]
    canvas.polygon(corners, "red", "ink", 1.5)
