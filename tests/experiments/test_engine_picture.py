"""The picture of a fork and a join shows what the engine did, and is the committed one."""

from __future__ import annotations

from xml.etree import ElementTree

from experiments.bench.engine_picture import AFTER, BEFORE, BLOCK, CHILDREN, PROMPT, draw, record


def test_the_picture_shows_what_the_engine_did(repo_root):
    rows = record()
    by_name = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    fork = PROMPT + BEFORE
    assert sum(row.length for row in by_name["parent"]) == fork
    for number, length in enumerate(CHILDREN, 1):
        assert [(r.start, r.length) for r in by_name[str(number)]] == [(fork, length)]
    assert by_name["join"][0].start == fork + max(CHILDREN)
    assert by_name["join"][0].length == AFTER
    blocks = [block for row in rows for block in row.blocks]
    assert len(blocks) == len(set(blocks)), "no block is copied or shared by two stretches"
    assert all(0 < fill <= BLOCK for row in rows for fill in row.fills)
    picture = draw(rows)
    texts = [e.text for e in ElementTree.fromstring(picture).iter() if e.tag.endswith("text")]
    assert {str(block) for block in blocks} <= set(texts)
    committed = repo_root / "docs/results/engine/forks.svg"
    assert picture == committed.read_text(encoding="utf-8"), "run experiments.bench.engine_picture"
