"""A picture of a fork and a join over the blocks of a real engine, as SVG.

``python -m experiments.bench.engine_picture --out docs/results/engine/forks.svg``
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch

from rlcore.inference.branches import Fork, Stretch
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.engine import Engine
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig

BLOCK = 4
PROMPT, BEFORE, AFTER = 6, 4, 5
CHILDREN = (3, 7, 5)
INK, SOFT, LINE = "#1c2530", "#5c6773", "#c9d0d8"
COLOURS = {"parent": "#9cc9e8", "1": "#f4c28a", "2": "#a8d8b9", "3": "#d9b8e0", "join": "#5b9fd0"}
CELL, LEFT, TOP, LANE, GAP = 26, 96, 74, 58, 66
CAPTION = (
    "position in the sequence: branches start at the same one, and the join",
    "goes on behind the longest; boxes are blocks of the pool, by number",
)


@dataclass(frozen=True)
class Row:
    """A stretch of tokens and the blocks that hold it."""

    name: str
    lane: int
    start: int
    length: int
    blocks: tuple[int, ...]
    fills: tuple[int, ...]


def record() -> list[Row]:
    """Generate with a fork and a join, and return where the tokens lie."""
    torch.manual_seed(0)
    shape = TransformerConfig(vocab_size=64, dim=16, layers=1, heads=2)
    config = EngineConfig(block_size=BLOCK, num_blocks=64, max_rows=8, prefix_cache=False)
    engine = Engine(Transformer(shape), config)
    request = Request(
        prompt=list(range(PROMPT)), max_new_tokens=64, sampling=SamplingParams(seed=1), keep=True
    )
    handle = engine.submit(request)
    while len(handle.root.token_ids) < PROMPT + BEFORE:
        engine.step()
    handle.root.stop()
    children = handle.root.fork(len(CHILDREN))
    while any(child.running for child in children):
        engine.step()
        for child, length in zip(children, CHILDREN, strict=True):
            if len(child.token_ids) >= length:
                child.stop()
    root = handle.sample.root
    handle.root.join(forced=[1])
    while len(root.stretch.ids) < AFTER:
        engine.step()
        engine.pull(root)
    handle.root.stop()
    rows, joined = [], False
    for part in root.parts:
        if isinstance(part, Fork):
            joined = True
            for n, child in enumerate(part.children, 1):
                rows += [_row(str(n), n - 1, s) for s in child.parts if isinstance(s, Stretch)]
        elif part.ids:
            rows.append(_row("join" if joined else "parent", 1, part))
    handle.finish()
    return rows


def _row(name: str, lane: int, stretch: Stretch) -> Row:
    return Row(
        name, lane, stretch.start, len(stretch.ids), tuple(stretch.blocks), tuple(stretch.fills)
    )


def draw(rows: list[Row]) -> str:
    """Return the picture."""
    lanes = TOP + 3 * LANE + 26
    tables = [(f"branch {n}", ("parent", n)) for n in "123"]
    tables.append(("joined", ("parent", "1", "2", "3", "join")))
    height = lanes + 70 + 38 * len(tables)
    parts = [_text(LEFT, 24 + 18 * n, line, SOFT, 13) for n, line in enumerate(CAPTION)]
    fork_end = next(r for r in reversed(rows) if r.name == "parent")
    after = next(r for r in rows if r.name == "join")
    for row in rows:
        if row.name in "123":
            parts += [_curve(fork_end, row), _curve(row, after)]
    for row in rows:
        parts += _tokens(row)
    parts.append(_text(LEFT, lanes + 30, "what each attends to: listed blocks, and how full each "
                       "is; no block is copied", SOFT, 13))  # fmt: skip
    for n, (name, owners) in enumerate(tables):
        parts += _listing(
            name, [r for o in owners for r in rows if r.name == o], lanes + 46 + 38 * n
        )
    width = _x(after, after.start + after.length) + 64
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'width="{width:.0f}" height="{height}" role="img" '
        'aria-label="A fork and a join over shared blocks" '
        'font-family="system-ui,-apple-system,Segoe UI,sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _x(row: Row, position: float) -> float:
    """Return where a position is: with room for the lines between parent, branches and join."""
    gaps = {"parent": 0, "join": 2}.get(row.name, 1)
    return LEFT + position * CELL + gaps * GAP


def _y(lane: int) -> float:
    return TOP + lane * LANE + 8


def _tokens(row: Row) -> list[str]:
    """Draw a stretch: a box around each block, a cell for each token, dashes for free slots."""
    label = {"parent": "parent", "join": "parent, joined"}.get(row.name, f"branch {row.name}")
    where = f"{label}, from {row.start}"
    parts = [_text(_x(row, row.start), _y(row.lane) - 5, where, INK, 12)]
    at = row.start
    for block, fill in zip(row.blocks, row.fills, strict=True):
        for slot in range(BLOCK if fill < BLOCK else fill):
            filled = slot < fill
            colour = COLOURS[row.name] if filled else "none"
            dash = "" if filled else ' stroke-dasharray="3 3"'
            parts.append(
                f'<rect x="{_x(row, at + slot) + 1.5:.1f}" y="{_y(row.lane) + 3:.1f}" '
                f'width="{CELL - 3}" height="{CELL - 6}" rx="3" fill="{colour}" '
                f'stroke="{LINE}"{dash}/>'
            )
        wide = (fill if fill < BLOCK else BLOCK) * CELL
        parts.append(
            f'<rect x="{_x(row, at):.1f}" y="{_y(row.lane):.1f}" width="{wide}" '
            f'height="{CELL}" rx="5" fill="none" stroke="{INK}" stroke-width="1.4"/>'
        )
        middle = _x(row, at) + wide / 2
        parts.append(_text(middle, _y(row.lane) + 17, str(block), INK, 12, "middle"))
        at += fill
    return parts


def _curve(one: Row, other: Row) -> str:
    x1, y1 = _x(one, one.start + one.length), _y(one.lane) + CELL / 2
    x2, y2 = _x(other, other.start), _y(other.lane) + CELL / 2
    bend = max((x2 - x1) / 2, 10)
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} '
        f'{x2:.1f} {y2:.1f}" fill="none" stroke="{SOFT}" stroke-width="1.6"/>'
    )


def _listing(name: str, rows: list[Row], y: float) -> list[str]:
    parts = [_text(12, y + 18, name, INK, 12)]
    entries = [(r.name, *pair) for r in rows for pair in zip(r.blocks, r.fills, strict=True)]
    for n, (owner, block, fill) in enumerate(entries):
        x = LEFT + 62 * n
        parts.append(
            f'<rect x="{x}" y="{y}" width="54" height="26" rx="5" fill="{COLOURS[owner]}" '
            f'stroke="{INK}"/>'
        )
        parts.append(
            f'<rect x="{x + 4}" y="{y + 20}" width="{46 * fill / BLOCK:.1f}" height="3" '
            f'fill="{INK}"/>'
        )
        parts.append(_text(x + 27, y + 15, str(block), INK, 12, "middle"))
    return parts


def _text(x: float, y: float, text: str, colour: str, size: int, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(record()), encoding="utf-8")


if __name__ == "__main__":
    main()
