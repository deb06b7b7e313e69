"""Tags, spans, positions and masks of generations with branches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.errors import ConfigError
from rlcore.inference.parallel import (
    MULTIVERSE,
    NPR,
    ParallelSchema,
    SchemaError,
    build_intervals,
    build_positions,
    canonicalize,
    flex_mask_mod,
    parse,
    validate,
)
from rlcore.inference.parallel.layout import critical_path
from rlcore.ops.attention.masks import AttentionMask
from tests.inference.parallel_traces import (
    SCHEMA,
    TAGS,
    Writer,
    all_blocks,
    positions_by_hand,
    random_trace,
    seen_by_all,
    visible,
)

NPR_TAGS = {tag: 100 + i for i, tag in enumerate(NPR.tags)} | {":": 99}
NPR_SCHEMA = NPR.bind(NPR_TAGS, max_branches=5)


def test_ten_thousand_random_trees_have_the_mask_and_positions_of_the_definition() -> None:
    nested = single = 0
    for seed in range(10_000):
        writer = random_trace(seed)
        tree = parse(writer.ids, SCHEMA)
        gs, ps = (x.numpy() for x in build_intervals(tree))
        key = np.arange(len(writer.ids))
        hidden = (gs[:, :, None] <= key) & (key < ps[:, :, None])
        mask = (key[None] <= key[:, None]) & ~hidden.any(0)
        assert (mask == seen_by_all(writer)).all(), seed
        nested += tree.depth > 1
        single += any(len(block.branches) == 1 for block in all_blocks(tree))
        positions = build_positions(tree)
        assert int(positions[-1]) + 1 == critical_path(tree), seed
        assert positions.tolist() == positions_by_hand(writer), seed
    assert nested > 1000
    assert single > 1000


def test_the_arrays_of_the_definition_equal_its_pairs() -> None:
    for seed in range(40):
        writer = random_trace(seed)
        size = range(len(writer.ids))
        by_pairs = [[visible(writer, q, k) for k in size] for q in size]
        assert seen_by_all(writer).tolist() == by_pairs


def test_blocks_without_siblings_are_causal() -> None:
    writer = Writer(0, ParallelSchema(*range(100, 108), 99, 108, max_branches=1))
    for _ in range(3):
        writer.words(1, 3, ())
        writer.block(())
    tree = parse(writer.ids, writer.schema)
    gs, ps = build_intervals(tree)
    assert torch.equal(build_positions(tree), torch.arange(len(writer.ids)))
    assert (gs >= ps).all() or not ((gs < ps) & (gs >= 0)).any()
    plain = parse([1, 2, 3], SCHEMA)
    assert plain.depth == 0
    assert build_intervals(plain)[0].shape == (0, 3)
    assert build_positions(plain).tolist() == [0, 1, 2]
    assert build_positions(parse([], SCHEMA)).tolist() == []


def test_the_flex_mask_and_the_attention_mask_equal_the_definition() -> None:
    writers = [random_trace(seed) for seed in (3, 11, 25)]
    length = max(len(w.ids) for w in writers) + 2
    trees = [parse(w.ids + [1] * (length - len(w.ids)), SCHEMA) for w in writers]
    depth = max(tree.depth for tree in trees)
    gs, ps = torch.zeros(2, 3, depth, length, dtype=torch.int32)
    for row, tree in enumerate(trees):
        gs[row, : tree.depth], ps[row, : tree.depth] = build_intervals(tree)
    documents = torch.zeros(3, length, dtype=torch.int32)
    documents[:, length // 2 :] = 1
    dense = AttentionMask(intervals=(gs, ps), documents=documents).dense()[:, 0]
    b, q, k = torch.meshgrid(
        torch.arange(3), torch.arange(length), torch.arange(length), indexing="ij"
    )
    assert torch.equal(flex_mask_mod(gs, ps, documents)(b, b * 0, q, k), dense)
    for row, writer in enumerate(writers):
        size = len(writer.ids)
        own = flex_mask_mod(*build_intervals(trees[row]), documents[row])
        one = own(b[:1] * 0, b[:1] * 0, q[:1], k[:1])
        assert torch.equal(one[0], dense[row])
        half = length // 2
        expected = seen_by_all(writer)
        expected[half:, :half] = False
        assert (dense[row, :size, :size].numpy() == expected).all()


def good(schema: ParallelSchema = SCHEMA, branches: int = 2, body: tuple[int, ...] = (5,)) -> list:
    """A block with words before and behind, as a list of ids."""
    s = schema
    labels = [[30 + i, s.label_end] for i in range(branches)]
    ids = [1, 2, s.open_block]
    for label in labels:
        ids += [s.outline_open, *label, s.outline_close]
    ids.append(s.fork_tag)
    for label in labels:
        ids += [s.branch_open, *label, *body, s.branch_close]
    ids += [s.join_open, 6, s.join_close]
    return [*ids, *([] if s.close_block is None else [s.close_block]), 7]


def test_both_published_schemas_parse_their_blocks() -> None:
    for schema in (SCHEMA, NPR_SCHEMA):
        ids = good(schema)
        tree = parse(ids, schema, prompt=2)
        (block,) = tree.blocks
        assert validate(ids, schema, prompt=2) == []
        assert ids[block.fork] == schema.fork_tag
        assert ids[block.join] == schema.join_open
        assert [ids[b.start] for b in block.branches] == [schema.branch_open] * 2
        assert [ids[b.stop - 1] for b in block.branches] == [schema.branch_close] * 2
        assert [b.label for b in block.branches] == [(30, 99), (31, 99)]
        assert ids[block.stop] == 7


def edited(at: int, *tokens: int, remove: int = 0, ids: list | None = None) -> list:
    base = good() if ids is None else list(ids)
    base[at : at + remove] = tokens
    return base


S = SCHEMA
GOOD = good()
AT = {tag: GOOD.index(TAGS[tag]) for tag in TAGS if TAGS[tag] in GOOD}
FIRST_PATH, FIRST_OUTLINE = AT["<Path>"], AT["<Outline>"]

FAULTS = [
    ("tag_in_prompt", edited(0, S.branch_open, remove=1), 0),
    ("unclosed", GOOD[: FIRST_PATH + 2], FIRST_PATH),
    ("unclosed", GOOD[:4], 3),
    ("unclosed", GOOD[:3], 2),
    ("unclosed", GOOD[: AT["<Conclusion>"] + 1], AT["<Conclusion>"]),
    ("unclosed", GOOD[: AT["</Parallel>"]], 2),
    ("crossed", edited(FIRST_PATH + 3, S.fork_tag, remove=1), FIRST_PATH + 3),
    ("crossed", edited(2, S.branch_close), 2),
    ("crossed", edited(AT["</Conclusion>"], S.branch_close, remove=1), AT["</Conclusion>"]),
    ("crossed", edited(AT["</Parallel>"], 5), AT["</Parallel>"]),
    ("crossed", edited(FIRST_PATH, S.outline_open), FIRST_PATH),
    ("no_outline", [1, 2, S.open_block, *GOOD[AT["</Goal>"] :]], 2),
    ("too_many", good(branches=7), 2),
    ("no_label", edited(FIRST_OUTLINE + 1, remove=1), FIRST_OUTLINE),
    ("no_label", edited(FIRST_PATH + 1, 8, 9, remove=2), FIRST_PATH),
    ("duplicate_label", edited(FIRST_OUTLINE + 5, 30, remove=1), FIRST_OUTLINE + 4),
    (
        "duplicate_label",
        edited(FIRST_OUTLINE + 9, 30, remove=1, ids=good(branches=3)),
        FIRST_OUTLINE + 8,
    ),
    ("label_mismatch", edited(FIRST_PATH + 1, 40, remove=1), FIRST_PATH),
    ("count_mismatch", edited(FIRST_PATH, remove=5), AT["</Goal>"]),
    ("empty_branch", edited(FIRST_PATH + 3, remove=1), FIRST_PATH),
    ("stray_token", edited(FIRST_PATH, 5), FIRST_PATH),
    ("stray_token", edited(FIRST_PATH + 5, 5), FIRST_PATH + 5),
]


@pytest.mark.parametrize(("kind", "ids", "index"), FAULTS)
def test_each_fault_has_its_kind_and_place(kind: str, ids: list[int], index: int) -> None:
    faults = validate(ids, SCHEMA, prompt=2)
    assert (kind, index) in [(fault.kind, fault.token_index) for fault in faults]
    with pytest.raises(SchemaError) as caught:
        parse(ids, SCHEMA, prompt=2)
    assert (caught.value.kind, caught.value.token_index) == (
        faults[0].kind,
        faults[0].token_index,
    )
    assert str(index) in str(next(f for f in faults if f.kind == kind))


def test_nesting_is_bounded() -> None:
    inner = tuple(good()[2:-1])
    twice = good(body=(5, *inner))
    assert parse(twice, SCHEMA).depth == 2
    flat = MULTIVERSE.bind(TAGS, max_depth=1)
    assert {fault.kind for fault in validate(twice, flat)} == {"too_deep"}
    assert NPR_SCHEMA.max_depth == 1
    assert NPR.bind(NPR_TAGS, max_depth=2).max_depth == 2


@pytest.mark.parametrize("seed", range(200))
def test_no_damage_escapes_as_another_error(seed: int) -> None:
    writer = random_trace(seed)
    ids, draw = list(writer.ids), writer.random
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(ids))
        ids[at : at + draw.randint(0, 2)] = draw.choices([*TAGS.values(), 5], k=draw.randint(0, 2))
    faults = validate(ids, SCHEMA)
    if faults:
        with pytest.raises(SchemaError):
            parse(ids, SCHEMA)
    else:
        tree = parse(ids, SCHEMA)
        last = max(build_positions(tree).tolist(), default=-1)
        assert last + 1 == critical_path(tree)


def test_canonical_form_drops_what_lies_between_branches() -> None:
    newline = 10
    spread = []
    for token in GOOD:
        spread.append(token)
        if token in (S.fork_tag, S.branch_close, S.join_close):
            spread.append(newline)
    assert {fault.kind for fault in validate(spread, SCHEMA)} == {"stray_token", "crossed"}
    assert canonicalize(spread, SCHEMA) == GOOD
    assert canonicalize(GOOD, SCHEMA) == GOOD
    # What no branch or join follows is text, not a gap.
    assert canonicalize([S.branch_close, 5, 6], SCHEMA) == [S.branch_close, 5, 6]
    assert canonicalize([S.fork_tag, 5, S.fork_tag], SCHEMA) == [S.fork_tag, 5, S.fork_tag]


def test_wrong_schemas_are_named() -> None:
    with pytest.raises(ConfigError, match="no single token for '<Path>'"):
        MULTIVERSE.bind({tag: i for tag, i in TAGS.items() if tag != "<Path>"})
    with pytest.raises(ConfigError, match="a token of its own"):
        ParallelSchema(*range(100, 107), 100, 99)
    with pytest.raises(ConfigError, match="max_branches must be >= 1, got 0"):
        MULTIVERSE.bind(TAGS, max_branches=0)
