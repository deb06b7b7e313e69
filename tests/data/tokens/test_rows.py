"""Rows of tokens: which documents they are made of, in which order, and what may be predicted."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlcore.data.tokens.file import TokenFile, TokenWriter
from rlcore.data.tokens.order import CutOrder, make_order
from rlcore.data.tokens.rows import RowLayout, RowReader, layout_of
from rlcore.errors import DataError

EOS = 7


def token_file(folder: Path, lengths: list[int], prompts: list[int] | None = None) -> TokenFile:
    """Documents of distinct tokens: token ``n`` is the n-th of the file, counted from 10."""
    with TokenWriter(folder / "a.tokens", 65_000) as writer:
        at = 10
        for i, length in enumerate(lengths):
            writer.add(np.arange(at, at + length), prompts[i] if prompts else 0)
            at += length
        writer.finish()
    return TokenFile(folder / "a.tokens")


def arrays_of(layout: RowLayout, rows: int) -> dict[str, np.ndarray]:
    # Filled with rubbish: whatever the reader leaves out shows.
    found = {n: np.zeros(f.full_shape(1, rows), f.dtype) for n, f in layout.fields().items()}
    for array in found.values():
        array.fill(1 if array.dtype == bool else 99)
    return found


def read(file: TokenFile, layout: RowLayout, first: int, rows: int, **order):
    arrays = arrays_of(layout, rows)
    total = RowReader(file, layout, **{"seed": 3, **order}).read(first, arrays)
    return arrays, total


def layout(file: TokenFile, packing: str, width: int, **more) -> RowLayout:
    return layout_of(file, packing, width, **{"overlap": 0, **more})


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=9),
    st.integers(0, 1),
    st.integers(2, 9),
    st.booleans(),
    st.integers(0, 3),
)
def test_cut_rows_tile_the_line_once_an_epoch(
    tmp_path_factory, lengths, overlap, width, shuffle, epoch
) -> None:
    if sum(lengths) < width:
        return
    file = token_file(tmp_path_factory.mktemp("t"), lengths)
    order = make_order(file, "cut", width, overlap=overlap, seed=1, shuffle=shuffle)
    rows = [order.pieces(epoch * order.rows + k) for k in range(order.rows)]
    seen: dict[tuple[int, int], int] = {}
    for pieces in rows:
        assert sum(p.stop - p.start for p in pieces) == width
        flat = [(p.document, i) for p in pieces for i in range(p.start, p.stop)]
        for key in flat[overlap:]:
            seen[key] = seen.get(key, 0) + 1
        for left, right in itertools.pairwise(pieces):
            assert left.stop == lengths[left.document]
            assert right.start == 0
    assert set(seen.values()) == {1}
    total, step = sum(lengths), width - overlap
    assert len(seen) == order.rows * step
    # What one epoch leaves out is less than two steps (the phase needs one of them).
    assert total - len(seen) - overlap < (2 * step - 1 if shuffle else step) or order.rows == 1
    if not shuffle:
        firsts = [file.offsets[p[0].document] + p[0].start for p in rows]
        assert firsts == [k * step for k in range(order.rows)]


def test_cut_epochs_differ_in_phase_documents_and_rows(tmp_path: Path) -> None:
    file = token_file(tmp_path, [100])
    order = CutOrder(file, 9, 1, 0, True, False)
    starts = [[order.pieces(e * order.rows + k)[0].start for k in range(order.rows)] for e in
              range(40)]  # fmt: skip
    phases = {min(s) for s in starts}
    assert phases >= set(range(order.step))  # every offset within a step comes up
    assert all(sorted(s) != s for s in starts)  # rows are shuffled
    assert len({tuple(s) for s in starts}) == 40
    many = token_file(tmp_path, [5] * 20)
    order = CutOrder(many, 10, 0, 0, True, False)
    lines = []
    for epoch in range(5):
        pieces = [p for k in range(order.rows) for p in order.pieces(epoch * order.rows + k)]
        lines.append(tuple(p.document for p in pieces))
    assert len(set(lines)) == 5


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 10), min_size=1, max_size=12), st.integers(10, 20), st.booleans(),
    st.sampled_from(["fit", "single"]),
)  # fmt: skip
def test_whole_documents_come_once_an_epoch(
    tmp_path_factory, lengths, width, shuffle, packing
) -> None:
    file = token_file(tmp_path_factory.mktemp("t"), lengths)
    order = make_order(file, packing, width, overlap=0, seed=4, shuffle=shuffle)
    for epoch in (0, 1, 5):
        rows = [order.pieces(epoch * order.rows + k) for k in range(order.rows)]
        found = [p.document for pieces in rows for p in pieces]
        assert sorted(found) == list(range(len(lengths)))
        assert all((p.start, p.stop) == (0, lengths[p.document]) for r in rows for p in r)
        filled = [sum(p.stop - p.start for p in pieces) for pieces in rows]
        assert max(filled) <= width
        if packing == "single":
            assert all(len(pieces) == 1 for pieces in rows)
        if not shuffle:
            assert found == sorted(found)
            if packing == "fit":  # the first document of a row did not fit into the one before
                firsts = [lengths[pieces[0].document] for pieces in rows[1:]]
                assert all(a + b > width for a, b in zip(filled, firsts, strict=False))


@pytest.mark.parametrize("packing", ["cut", "fit", "single"])
def test_a_row_depends_on_its_number_alone(tmp_path: Path, packing: str) -> None:
    file = token_file(tmp_path, [5, 3, 9, 2, 7, 4, 6, 8])
    order = make_order(file, packing, 10, overlap=0, seed=9)
    count = 3 * order.rows + 2
    straight = [order.pieces(k) for k in range(count)]
    for k in np.random.default_rng(0).permutation(count):
        fresh = make_order(file, packing, 10, overlap=0, seed=9)
        assert fresh.pieces(int(k)) == straight[k] == order.pieces(int(k))
    other = make_order(file, packing, 10, overlap=0, seed=10)
    assert [other.pieces(k) for k in range(count)] != straight


def test_batches_are_the_same_however_many_readers_share_them(tmp_path: Path) -> None:
    file = token_file(tmp_path, [5, 3, 9, 2, 7, 4, 6, 8])
    shape = layout(file, "fit", 10)
    whole, _ = read(file, shape, 12, 6)
    for readers in (2, 3, 6):
        share = 6 // readers
        parts = [read(file, shape, 12 + r * share, share)[0] for r in range(readers)]
        for name, array in whole.items():
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, array)


def test_documents_padding_and_targets_of_a_packed_row(tmp_path: Path) -> None:
    file = token_file(tmp_path, [3, 4], prompts=[1, 2])
    shape = layout(file, "fit", 9, eos_id=EOS)
    arrays, total = read(file, shape, 0, 1, shuffle=False)
    assert arrays["tokens"].tolist() == [[10, 11, 12, 13, 14, 15, 16, EOS, EOS]]
    assert arrays["documents"].tolist() == [[0, 0, 0, 1, 1, 1, 1, -1, -1]]
    assert arrays["targets"].astype(int).tolist() == [[0, 1, 1, 0, 0, 1, 1, 0, 0]]
    assert total == 7


def test_responses_are_padded_with_eos_as_targets(tmp_path: Path) -> None:
    file = token_file(tmp_path, [3, 4], prompts=[1, 2])
    shape = layout(file, "single", 7, response=4, eos_id=EOS)
    arrays, total = read(file, shape, 0, 2, shuffle=False)
    assert arrays["tokens"].tolist() == [
        [10, 11, 12, EOS, EOS, EOS, EOS],
        [13, 14, 15, 16, EOS, EOS, EOS],
    ]
    # Four of each response, EOS included; the last places are padding.
    assert arrays["targets"].astype(int).tolist() == [[0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 0]]
    assert arrays["documents"].tolist() == [[0, 0, 0, 0, 0, -1, -1], [0, 0, 0, 0, 0, 0, -1]]
    assert total == 11
    packed = layout(file, "fit", 11, response=4, eos_id=EOS)
    arrays, _ = read(file, packed, 0, 1, shuffle=False)
    assert arrays["tokens"][0].tolist() == [10, 11, 12, EOS, EOS, 13, 14, 15, 16, EOS, EOS]
    assert arrays["documents"][0].tolist() == [0] * 5 + [1] * 6


def test_prompts_of_cut_documents_are_no_targets(tmp_path: Path) -> None:
    file = token_file(tmp_path, [6, 6], prompts=[4, 1])
    arrays, total = read(file, layout(file, "cut", 3), 0, 4, shuffle=False)
    assert arrays["targets"].astype(int).tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert total == 12


def test_rows_share_a_token_where_they_overlap(tmp_path: Path) -> None:
    file = token_file(tmp_path, [11])
    arrays, total = read(file, layout(file, "cut", 6, overlap=1), 0, 2, shuffle=False)
    assert arrays["tokens"].tolist() == [[10, 11, 12, 13, 14, 15], [15, 16, 17, 18, 19, 20]]
    assert total == 10
    assert "documents" not in arrays


def test_partial_rows_cover_everything_once(tmp_path: Path) -> None:
    file = token_file(tmp_path, [12])
    shape = layout(file, "cut", 6, overlap=1, partial=True)
    reader = RowReader(file, shape, seed=0, shuffle=False, partial=True)
    assert reader.rows == 3
    arrays, total = read(file, shape, 0, 3, shuffle=False, partial=True)
    assert total == 11  # tokens that follow another: all but the first
    assert arrays["tokens"][2].tolist() == [20, 21, 0, 0, 0, 0]
    assert arrays["documents"][2].tolist() == [0, 0, -1, -1, -1, -1]
    assert arrays["targets"][2].tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("lengths", "packing", "width", "more", "documents"),
    [
        ([30], "cut", 6, {}, False),
        ([30, 5], "cut", 6, {}, True),
        ([31], "cut", 6, {"overlap": 1, "partial": True}, False),
        ([30], "cut", 6, {"overlap": 1, "partial": True}, True),
        ([6, 6], "single", 6, {}, False),
        ([6, 5], "single", 6, {}, True),
        ([6, 6], "fit", 6, {}, True),
        ([2, 5], "single", 6, {"response": 6, "eos_id": EOS}, False),
    ],
)
def test_document_numbers_are_left_out_where_rows_are_whole(
    tmp_path: Path, lengths, packing, width, more, documents
) -> None:
    assert layout(token_file(tmp_path, lengths), packing, width, **more).documents is documents


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    file = token_file(tmp_path, [3, 9, 12])
    for packing in ("fit", "single"):
        with pytest.raises(DataError, match=r"2 of 3 documents are longer than a row of 8 .* 12"):
            RowReader(file, layout(file, packing, 8), seed=0)
    with pytest.raises(DataError, match="24 tokens do not fill one row of 25"):
        RowReader(file, layout(file, "cut", 25), seed=0)
    with pytest.raises(DataError, match=r"1 of 3 responses are longer than data.response = 9"):
        layout(file, "single", 20, response=9, eos_id=EOS)
    with pytest.raises(DataError, match="EOS, which the data set does not have"):
        RowLayout(9, "single", response=3)
    with pytest.raises(DataError, match="whole responses"):
        RowLayout(9, "cut", response=3, eos_id=EOS)
    with pytest.raises(DataError, match="wider than their overlap"):
        make_order(file, "cut", 1, overlap=1, seed=0)
