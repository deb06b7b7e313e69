"""The picture of a ray: vorticity of the stream, the ray, and what it does."""

from __future__ import annotations

import numpy as np

from envs.core.canvas import Canvas
from envs.core.palette import shade

WIDTH = 720
"""Pixels across the picture."""
STRONG = 25.0
"""Vorticity, U/L, at which the colours are strongest."""


def draw(
    points: np.ndarray,
    base: np.ndarray,
    domain: tuple[float, float],
    measured: np.ndarray,
    time: float,
    vorticity: np.ndarray | None,
) -> np.ndarray:
    """Return the picture, uint8 ``[height, width, 3]``.

    Args:
        points: Ends of the links from the base, L, ``[links + 1, 2]``.
        base: Position of the base in the domain, L.
        domain: Its length and height, L.
        measured: Measurements, in the order of :data:`envs.finray.task.MEASURES`.
        time: Since the start of the episode, L/U.
        vorticity: ``[ny, nx]`` in U/L, or None where the model has no flow field.
    """
    x_range = (-float(base[0]), domain[0] - float(base[0]))
    y_range = (-float(base[1]), domain[1] - float(base[1]))
    height = round(WIDTH * domain[1] / domain[0])
    canvas = Canvas(WIDTH, height, x_range, y_range)
    if vorticity is None:
        for y in np.arange(np.ceil(y_range[0] * 2) / 2, y_range[1], 0.5):
            canvas.arrow((x_range[0] + 0.1, y), (x_range[0] + 0.5, y), "sky")
    else:
        # A root brings out the weak vortices of the wake beside the strong ones at the ray.
        strength = np.sign(vorticity) * np.sqrt(np.abs(vorticity) / STRONG)
        picture = shade(strength[::-1], -1.0, 1.0, "diverging")
        canvas.image(picture, x_range[0], y_range[0], x_range[1], y_range[1], smooth=True)
    canvas.polyline(points, "ink", width=4.0)
    canvas.dot((0.0, 0.0), 6.0, "ink")
    thrust, power = measured[0], measured[2]
    text = f"t {time:5.2f} L/U    thrust {thrust:+.2f}    power {power:+.1f}"
    canvas.text((12, 20), text, 15, "ink", anchor="lm", face="mono", halo="paper", pixels=True)
    return canvas.array()
