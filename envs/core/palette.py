"""Colours that every picture of this package shares, and colour scales for fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Colour = str | Sequence[int]
"""A name of :data:`PALETTE`, ``#rrggbb``, ``#rrggbbaa``, or three or four numbers of 0..255."""

PALETTE: dict[str, tuple[int, int, int]] = {
    "paper": (250, 249, 245),
    "ink": (34, 38, 46),
    "grey": (128, 134, 145),
    "light": (214, 217, 222),
    "blue": (46, 104, 184),
    "sky": (122, 178, 230),
    "red": (206, 66, 56),
    "orange": (232, 142, 44),
    "yellow": (240, 200, 72),
    "green": (62, 148, 92),
    "mint": (158, 210, 172),
    "purple": (128, 88, 170),
    "brown": (140, 100, 70),
    "night": (24, 27, 34),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}

SCALES: dict[str, tuple[str, ...]] = {
    "diverging": ("#1d3f72", "#5e93c9", "#f7f6f2", "#d9735b", "#7d1d23"),
    "sequential": ("#17202e", "#27496d", "#2f8f83", "#a7c957", "#f9e79f"),
    "heat": ("#1b1119", "#6b1d45", "#c93a3a", "#f2933b", "#fdf0b5"),
}
"""Stops of each colour scale, evenly spaced from its low end to its high end."""


def rgba(colour: Colour) -> tuple[int, int, int, int]:
    """Return a colour as four numbers of 0..255, the last one its opacity.

    Raises:
        ValueError: It is no colour.
    """
    if isinstance(colour, str):
        if colour in PALETTE:
            return (*PALETTE[colour], 255)
        digits = colour.removeprefix("#")
        try:
            numbers = tuple(bytes.fromhex(digits))
        except ValueError:
            numbers = ()
        if not colour.startswith("#"):
            numbers = ()
    else:
        numbers = tuple(int(number) for number in colour)
    if len(numbers) not in (3, 4) or not all(0 <= number <= 255 for number in numbers):
        names = ", ".join(PALETTE)
        raise ValueError(f"{colour!r} is no colour: wanted #rrggbb, (r, g, b) or one of {names}")
    red, green, blue, *opacity = numbers
    return red, green, blue, opacity[0] if opacity else 255


def mix(one: Colour, other: Colour, share: float) -> tuple[int, int, int, int]:
    """Return the colour that lies ``share`` (0..1) of the way from ``one`` to ``other``."""
    a, b = np.array(rgba(one), float), np.array(rgba(other), float)
    r, g, b, a = np.rint(a + (b - a) * share).astype(int).tolist()
    return r, g, b, a


def shade(field: Any, low: float, high: float, scale: str = "diverging") -> np.ndarray:
    """Return a field of numbers as colours.

    Args:
        field: Array ``[...]``; values outside ``[low, high]`` take the colour of the nearer end,
            NaN is grey.
        low: Value of the scale's first stop.
        high: Value of its last stop.
        scale: A name of :data:`SCALES`.

    Returns:
        Uint8 ``[..., 3]``.

    Raises:
        ValueError: There is no such scale, or ``low`` is not below ``high``.
    """
    if scale not in SCALES:
        raise ValueError(f"no colour scale {scale!r}; there are: {', '.join(SCALES)}")
    if not low < high:
        raise ValueError(f"a colour scale from {low} to {high}: low must be below high")
    stops = np.array([rgba(stop)[:3] for stop in SCALES[scale]], float)
    place = (np.asarray(field, float) - low) / (high - low)
    place = np.clip(np.nan_to_num(place), 0.0, 1.0) * (len(stops) - 1)
    at = np.linspace(0, len(stops) - 1, len(stops))
    channels = [np.interp(place, at, stops[:, k]) for k in range(3)]
    shaded: np.ndarray = np.rint(np.stack(channels, -1)).astype(np.uint8)
    shaded[np.isnan(np.asarray(field, float))] = PALETTE["grey"]
    return shaded
