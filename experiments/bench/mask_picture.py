"""A picture of tokens, positions and attention of a parsed sequence with branches, as SVG.

``python -m experiments.bench.mask_picture --out docs/results/engine/branch_mask.svg``
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

from rlcore.inference.parallel import NPR, SpanTree, build_intervals, build_positions, parse
from rlcore.ops.attention.masks import AttentionMask

TEXT = (
    "Q <guideline> <plan> 1: </plan> <plan> 2: </plan> </guideline> "
    "<step> 1: a b c </step> <step> 2: d </step> <takeaway> e </takeaway> f"
).replace("1:", "1 :").replace("2:", "2 :")  # fmt: skip
CELL, LEFT, TOP = 22, 190, 150
INK, SOFT, LINE, HIDDEN = "#1c2530", "#5c6773", "#d9dee4", "#f1d4d0"
COLOURS = {0: "#9cc9e8", 1: "#f4c28a", 2: "#a8d8b9"}


def parsed() -> tuple[list[str], SpanTree]:
    """Return the words of the sequence and their spans."""
    words = TEXT.split()
    ids = {word: index for index, word in enumerate(dict.fromkeys((*NPR.tags, ":", *words)))}
    return words, parse([ids[word] for word in words], NPR.bind(ids), prompt=1)


def branches(tree: SpanTree) -> list[int]:
    """Return for each token the number of its branch, 0 outside."""
    numbers = [0] * tree.length
    for block in tree.blocks:
        for number, span in enumerate(block.branches, 1):
            numbers[span.start : span.stop] = [number] * (span.stop - span.start)
    return numbers


def draw() -> str:
    """Return the picture."""
    words, tree = parsed()
    positions, home = build_positions(tree).tolist(), branches(tree)
    gs, ps = build_intervals(tree)
    seen = AttentionMask(intervals=(gs[None], ps[None])).dense()[0, 0].tolist()
    parts = [
        _text(16, 24, "rows: queries with their positions; columns: the tokens they may see", 13),
        *_legend(44),
    ]
    for q, word in enumerate(words):
        y = TOP + q * CELL
        parts.append(_text(LEFT - 44, y + 15, word, 12, anchor="end"))
        parts.append(_text(LEFT - 12, y + 15, str(positions[q]), 12, SOFT, "end"))
        x = LEFT + q * CELL + 15
        parts.append(
            f'<text x="{x}" y="{TOP - 6}" font-size="12" fill="{INK}" '
            f'transform="rotate(-60 {x} {TOP - 6})">{escape(word)}</text>'
        )
        for k in range(len(words)):
            fill = COLOURS[home[k]] if seen[q][k] else HIDDEN if k <= q else "none"
            parts.append(
                f'<rect x="{LEFT + k * CELL}" y="{y}" width="{CELL}" height="{CELL}" '
                f'fill="{fill}" stroke="{LINE}"/>'
            )
    size = len(words) * CELL
    parts.append(_text(16, TOP + size + 26, f"{len(words)} tokens, {max(positions) + 1} positions: "
                       "the length of the longest way through", 13, SOFT))  # fmt: skip
    width, height = LEFT + size + 60, TOP + size + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'aria-label="Which tokens see which in a sequence with two branches" '
        'font-family="system-ui,-apple-system,Segoe UI,sans-serif">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _legend(y: int) -> list[str]:
    names = [(COLOURS[0], "outside"), (COLOURS[1], "branch 1"), (COLOURS[2], "branch 2"),
             (HIDDEN, "hidden: a sibling")]  # fmt: skip
    parts = []
    for n, (fill, name) in enumerate(names):
        x = 16 + 110 * n
        parts.append(
            f'<rect x="{x}" y="{y - 11}" width="14" height="14" fill="{fill}" stroke="{LINE}"/>'
        )
        parts.append(_text(x + 20, y, name, 12, SOFT))
    return parts


def _text(
    x: float, y: float, text: str, size: int, colour: str = INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
