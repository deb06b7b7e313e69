"""A thin canvas over Pillow: world coordinates, smooth edges, text."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs.core.palette import Colour, rgba

FONTS = Path(__file__).parent / "fonts"
FACES = {"sans": "DejaVuSans.ttf", "mono": "DejaVuSansMono.ttf", "bold": "DejaVuSansMono-Bold.ttf"}
SMALLEST_TEXT = 9
"""Font size, in pixels of the picture, below which letters cannot be read."""

Point = Sequence[float]


class Canvas:
    """A picture with a coordinate system of its own.

    Everything is drawn ``supersample`` times as large and averaged down, which makes edges smooth.
    Positions and sizes of shapes are in world units; line widths and text sizes in pixels of the
    finished picture. Colours are names of :data:`envs.core.palette.PALETTE`, ``#rrggbb`` or
    numbers; with a fourth number (opacity) they let through what lies below.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        x_range: World x at the left and the right edge; None counts pixels.
        y_range: World y at the bottom and the top edge (the first may be the greater, then y
            points down); None counts pixels from the top.
        background: Its colour.
        supersample: How many times as large to draw.

    Raises:
        ValueError: A size is not positive or a range is empty.
        ImportError: Pillow is not installed.
    """

    def __init__(
        self,
        width: int,
        height: int,
        x_range: tuple[float, float] | None = None,
        y_range: tuple[float, float] | None = None,
        background: Colour = "paper",
        supersample: int = 2,
    ) -> None:
        x_low, x_high = (0.0, float(width)) if x_range is None else x_range
        y_low, y_high = (float(height), 0.0) if y_range is None else y_range
        if min(width, height, supersample) < 1:
            raise ValueError(f"a canvas of {width} x {height} pixels, supersample {supersample}")
        if x_low == x_high or y_low == y_high:
            raise ValueError(f"a canvas of x {x_low}..{x_high}, y {y_low}..{y_high} is empty")
        self.width, self.height = width, height
        self._super = supersample
        self._origin = (x_low, y_high)
        self._scale = (
            width * supersample / (x_high - x_low),
            height * supersample / (y_low - y_high),
        )
        self._pil = _pillow()
        size = (width * supersample, height * supersample)
        self._image = self._pil.Image.new("RGB", size, rgba(background)[:3])
        self._draw = self._pil.ImageDraw.Draw(self._image, "RGBA")

    @classmethod
    def fitted(
        cls,
        width: int,
        height: int,
        bounds: tuple[float, float, float, float],
        margin: float = 8.0,
        background: Colour = "paper",
        supersample: int = 2,
    ) -> Canvas:
        """Return a canvas that shows ``bounds`` in the middle, a world unit as wide as high.

        Args:
            width: Of the picture, in pixels.
            height: Of the picture, in pixels.
            bounds: ``(x_low, x_high, y_low, y_high)`` of what must be seen.
            margin: Pixels left free on every side, at least.
            background: Its colour.
            supersample: How many times as large to draw.
        """
        x_low, x_high, y_low, y_high = bounds
        unit = max(
            (x_high - x_low) / (width - 2 * margin), (y_high - y_low) / (height - 2 * margin)
        )
        x, y = (x_low + x_high) / 2, (y_low + y_high) / 2
        half_x, half_y = unit * width / 2, unit * height / 2
        ranges = (x - half_x, x + half_x), (y - half_y, y + half_y)
        return cls(width, height, *ranges, background=background, supersample=supersample)

    def pixels(self, points: Any) -> np.ndarray:
        """Return world points ``[..., 2]`` as (column, row) of the finished picture."""
        return self._place(points) / self._super

    def _place(self, points: Any) -> np.ndarray:
        return (np.asarray(points, float) - self._origin) * self._scale

    def line(self, start: Point, end: Point, colour: Colour = "ink", width: float = 1.5) -> None:
        """Draw a straight line, ``width`` pixels wide."""
        self.polyline([start, end], colour, width)

    def polyline(
        self, points: Any, colour: Colour = "ink", width: float = 1.5, closed: bool = False
    ) -> None:
        """Draw lines through ``points`` ``[n, 2]`` with round joints and ends."""
        placed = self._place(points)
        if closed:
            placed = np.concatenate([placed, placed[:1]])
        wide = max(1, round(width * self._super))
        fill = rgba(colour)
        corners = [tuple(point) for point in placed.tolist()]
        self._draw.line(corners, fill, wide, joint="curve")
        if wide > 2 and fill[3] == 255 and not closed:  # a see-through end would be drawn twice
            for x, y in (corners[0], corners[-1]):
                half = (wide - 1) / 2
                self._draw.ellipse((x - half, y - half, x + half, y + half), fill)

    def polygon(
        self,
        points: Any,
        fill: Colour | None = "light",
        outline: Colour | None = None,
        width: float = 1.5,
    ) -> None:
        """Draw the polygon with corners ``points`` ``[n, 2]``."""
        if fill is not None:
            self._draw.polygon([tuple(p) for p in self._place(points).tolist()], rgba(fill))
        if outline is not None:
            self.polyline(points, outline, width, closed=True)

    def rectangle(
        self,
        x_low: float,
        y_low: float,
        x_high: float,
        y_high: float,
        fill: Colour | None = "light",
        outline: Colour | None = None,
        width: float = 1.5,
    ) -> None:
        """Draw a rectangle with sides along the axes."""
        corners = [(x_low, y_low), (x_high, y_low), (x_high, y_high), (x_low, y_high)]
        self.polygon(corners, fill, outline, width)

    def circle(
        self,
        centre: Point,
        radius: float,
        fill: Colour | None = "light",
        outline: Colour | None = None,
        width: float = 1.5,
    ) -> None:
        """Draw a circle; ``radius`` is in world units."""
        x, y = self._place(centre)
        across, down = abs(radius * self._scale[0]), abs(radius * self._scale[1])
        box = (x - across, y - down, x + across, y + down)
        line = None if outline is None else rgba(outline)
        wide = max(1, round(width * self._super)) if outline is not None else 0
        self._draw.ellipse(box, None if fill is None else rgba(fill), line, wide)

    def dot(self, centre: Point, pixels: float = 3.0, colour: Colour = "ink") -> None:
        """Draw a round mark with a radius of ``pixels``, whatever the world's scale."""
        x, y = self._place(centre)
        size = pixels * self._super
        self._draw.ellipse((x - size, y - size, x + size, y + size), rgba(colour))

    def arrow(
        self,
        start: Point,
        end: Point,
        colour: Colour = "ink",
        width: float = 1.5,
        head: float = 8.0,
    ) -> None:
        """Draw an arrow; its ``head`` is that many pixels long, at most half the arrow."""
        (x0, y0), (x1, y1) = self._place(start), self._place(end)
        length = math.hypot(x1 - x0, y1 - y0)
        if length < 1:
            return
        along, size = ((x1 - x0) / length, (y1 - y0) / length), head * self._super
        size = min(size, length / 2)
        neck = (x1 - along[0] * size, y1 - along[1] * size)
        side = (-along[1] * size * 0.45, along[0] * size * 0.45)
        wide = max(1, round(width * self._super))
        self._draw.line([(x0, y0), neck], rgba(colour), wide)
        corners = [(x1, y1)] + [(neck[0] + s * side[0], neck[1] + s * side[1]) for s in (1, -1)]
        self._draw.polygon(corners, rgba(colour))

    def text(
        self,
        at: Point,
        text: str,
        size: float = 13.0,
        colour: Colour = "ink",
        anchor: str = "mm",
        face: Literal["sans", "mono", "bold"] = "sans",
        halo: Colour | None = None,
        pixels: bool = False,
    ) -> None:
        """Write ``text``.

        Args:
            at: Where its anchor lies, in world units.
            text: One line, or several with line feeds.
            size: Font size in pixels; at least :data:`SMALLEST_TEXT`.
            colour: Of the letters.
            anchor: Which point of the text lies at ``at``: ``l``, ``m`` or ``r`` (left, middle,
                right), then ``a``, ``m`` or ``d`` (top, middle, bottom).
            face: ``sans``, ``mono`` or ``bold`` (mono).
            halo: Colour of a rim that keeps letters apart from what lies below.
            pixels: ``at`` counts pixels from the top left corner instead.
        """
        x, y = np.asarray(at, float) * self._super if pixels else self._place(at)
        font = _font(face, round(max(size, SMALLEST_TEXT) * self._super))
        rim = 0 if halo is None else self._super * 2
        rows = text.split("\n")
        height = 1.25 * font.size
        first = {"a": 0.0, "m": -(len(rows) - 1) / 2, "d": -(len(rows) - 1.0)}[anchor[1]]
        for k, row in enumerate(rows):
            place = (float(x), float(y + (first + k) * height))
            edge = None if halo is None else rgba(halo)
            self._draw.text(
                place, row, rgba(colour), font, anchor=anchor, stroke_width=rim, stroke_fill=edge
            )

    def image(
        self,
        pixels: np.ndarray,
        x_low: float,
        y_low: float,
        x_high: float,
        y_high: float,
        smooth: bool = False,
    ) -> None:
        """Place a picture, uint8 ``[h, w, 3]``, row 0 on top, in a rectangle of the world."""
        ends = self._place([(x_low, y_low), (x_high, y_high)])
        left, top = np.rint(ends.min(0)).astype(int)
        right, bottom = np.rint(ends.max(0)).astype(int)
        method = self._pil.Image.Resampling
        picture = self._pil.Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
        size = (max(1, int(right - left)), max(1, int(bottom - top)))
        picture = picture.resize(size, method.BICUBIC if smooth else method.NEAREST)
        self._image.paste(picture, (int(left), int(top)))

    def array(self) -> np.ndarray:
        """Return the picture as a fresh uint8 array ``[height, width, 3]``."""
        image = self._image if self._super == 1 else self._image.reduce(self._super)
        return np.array(image, np.uint8)


def text_screen(
    lines: Sequence[str | Sequence[tuple[str, Colour]]],
    columns: int = 80,
    rows: int = 24,
    size: int = 16,
    colour: Colour = "#d8dce4",
    background: Colour = "night",
) -> np.ndarray:
    """Return a terminal showing ``lines`` in a font of equal widths.

    Longer lines are wrapped at spaces where they have any; of more than ``rows`` rows the last are
    shown. Control characters are drawn as the replacement character.

    Args:
        lines: Each a string, or ``(string, colour)`` pieces of one line.
        columns: Characters to a row.
        rows: Rows.
        size: Font size in pixels.
        colour: Of plain lines.
        background: Of the screen.

    Returns:
        Uint8 ``[height, width, 3]``, of the same size whatever the lines.
    """
    font = _font("mono", size)
    advance, down, edge = font.getlength("M"), round(size * 1.3), size
    width = math.ceil(columns * advance) + 2 * edge
    canvas = Canvas(width, rows * down + 2 * edge, background=background, supersample=1)
    wrapped = [row for line in lines for row in _wrap(_cells(line, colour), columns)]
    for k, row in enumerate(wrapped[-rows:]):
        for start, piece, paint in _runs(row):
            at = (edge + start * advance, edge + (k + 0.5) * down)
            canvas.text(at, piece, size, paint, anchor="lm", face="mono", pixels=True)
    return canvas.array()


Cell = tuple[str, Colour]


def _cells(line: str | Sequence[tuple[str, Colour]], colour: Colour) -> list[Cell]:
    pieces = [(line, colour)] if isinstance(line, str) else line
    cells: list[Cell] = []
    for text, paint in pieces:
        for letter in text.expandtabs(4):
            seen = letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}"
            cells.append((seen, paint))
    return cells


def _wrap(cells: list[Cell], columns: int) -> list[list[Cell]]:
    """Break one line into rows of at most ``columns`` cells, at line feeds and spaces."""
    rows: list[list[Cell]] = [[]]
    for cell in cells:
        if cell[0] == "\n":
            rows.append([])
            continue
        if len(rows[-1]) == columns:
            full = rows[-1]
            spaces = [k for k, (letter, _) in enumerate(full) if letter == " "]
            cut = spaces[-1] + 1 if spaces and cell[0] != " " else columns
            rows[-1] = full[:cut]
            rows.append(full[cut:])
            if cell[0] == " " and cut == columns:
                continue
        rows[-1].append(cell)
    return rows


def _runs(row: list[Cell]) -> list[tuple[int, str, Colour]]:
    """Return runs of one colour as (column of the first cell, text, colour)."""
    runs: list[tuple[int, str, Colour]] = []
    for k, (letter, paint) in enumerate(row):
        if runs and runs[-1][2] == paint:
            start, text, _ = runs[-1]
            runs[-1] = (start, text + letter, paint)
        else:
            runs.append((k, letter, paint))
    return runs


@functools.cache
def _font(face: str, size: int) -> Any:
    return _pillow().ImageFont.truetype(str(FONTS / FACES[face]), size)


def _pillow() -> Any:
    try:
        import PIL
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'rlcore[render]'") from error
    return PIL
