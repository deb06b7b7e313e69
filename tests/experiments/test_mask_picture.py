"""The picture of a mask is drawn from the parser's spans, and is the committed one."""

from __future__ import annotations

from xml.etree import ElementTree

from experiments.bench.mask_picture import COLOURS, HIDDEN, branches, draw, parsed


def test_the_picture_shows_the_mask(repo_root) -> None:
    words, tree = parsed()
    home = branches(tree)
    picture = draw()
    shapes = ElementTree.fromstring(picture).iter()
    fills = [e.get("fill") for e in shapes if e.tag.endswith("rect")]
    grid = fills[-(len(words) ** 2) :]
    for q in range(len(words)):
        for k in range(len(words)):
            sibling = home[q] and home[k] and home[q] != home[k]
            wanted = "none" if k > q else HIDDEN if sibling else COLOURS[home[k]]
            assert grid[q * len(words) + k] == wanted
    committed = repo_root / "docs/results/engine/branch_mask.svg"
    assert picture == committed.read_text(encoding="utf-8"), "run experiments.bench.mask_picture"
