"""Small line charts as inline SVG, for the report; no plotting package needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 34
MAX_POINTS = 600
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        label: Its name in the legend.
        points: ``(x, y)`` pairs by increasing x; those not finite are left out.
        marks: Whether to draw points instead of a line.
    """

    label: str
    points: Sequence[tuple[float, float]]
    marks: bool = False


def line_chart(series: Sequence[Series], x_label: str) -> str:
    """Return an ``<svg>`` element; empty if no series has a point.

    Runs of more than 600 points are thinned by keeping the lowest and highest of each bucket, so
    that spikes stay visible.
    """
    kept = [(s, _thin([p for p in s.points if all(map(math.isfinite, p))])) for s in series]
    kept = [(s, points) for s, points in kept if points]
    if not kept:
        return ""
    xs = [x for _, points in kept for x, _ in points]
    ys = [y for _, points in kept for _, y in points]
    x_range, y_range = _range(xs), _range(ys, pad=0.06)
    scale = _Scale(x_range, y_range)
    body = [*_axes(scale, x_label)]
    for index, (one, points) in enumerate(kept):
        body.append(_marks(scale, points, index) if one.marks else _line(scale, points, index))
    names = ", ".join(one.label for one, _ in kept)
    head = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(names, quote=True)}">'
    )
    legend = "".join(
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escape(one.label)}</span>'
        for i, (one, _) in enumerate(kept)
    )
    return f'{head}{"".join(body)}</svg><div class="legend">{legend}</div>'


@dataclass(frozen=True, slots=True)
class _Scale:
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _range(values: Sequence[float], pad: float = 0.0) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high == low:
        half = abs(low) * 0.1 or 1.0
        return low - half, high + half
    return low - pad * (high - low), high + pad * (high - low)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers (1, 2 or 5 times a power of ten) within a range."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.85)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float) -> str:
    """Return a tick's number, with a unit prefix from ten thousand on."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _axes(scale: _Scale, x_label: str) -> list[str]:
    parts = []
    for value in ticks(*scale.y_range, 4):
        y = scale.y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick_text(value)}</text>'
        )
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for value in ticks(*scale.x_range, 5):
        x = scale.x(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{base + 15}" text-anchor="middle">{tick_text(value)}</text>'
        )
    centre = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{centre}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return parts


def _line(scale: _Scale, points: Sequence[tuple[float, float]], index: int) -> str:
    if len(points) == 1:
        return _marks(scale, points, index)
    path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
    return f'<polyline points="{path}" stroke="{COLOURS[index % len(COLOURS)]}"/>'


def _marks(scale: _Scale, points: Sequence[tuple[float, float]], index: int) -> str:
    colour = COLOURS[index % len(COLOURS)]
    return "".join(
        f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3" fill="{colour}"/>'
        for x, y in points
    )


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / MAX_POINTS)
    thinned = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        low, high = min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])
        thinned += sorted({low, high})
    return thinned
