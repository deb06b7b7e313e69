"""The stream of text: never half a character, never taken back, in sum the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.data.tokenizers import ByteTokenizer
from rlcore.data.tokenizers.streaming import TextStream

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def streamed(tokenizer, ids, **options):
    stream = TextStream(tokenizer, **options)
    pieces = [stream.push([token]) for token in ids]
    return [*pieces, stream.finish()]


@given(text=TEXT)
def test_no_piece_holds_half_a_character(text):
    tokenizer = ByteTokenizer()
    pieces = streamed(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert pieces[-1] == "", "a complete text leaves nothing behind"
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)
    # Each character comes with its last byte, not later.
    ends = [len(text[: n + 1].encode()) - 1 for n in range(len(text))]
    assert [n for n, piece in enumerate(pieces) if piece] == ends


@given(ids=st.lists(st.integers(0, 300), max_size=30), skip=st.booleans())
def test_any_ids_stream_to_their_text(ids, skip):
    tokenizer = ByteTokenizer()
    expected = tokenizer.decode(ids, skip_special=skip, errors="replace")
    assert "".join(streamed(tokenizer, ids, skip_special=skip)) == expected


def test_an_unfinished_character_becomes_a_replacement_at_the_end():
    assert streamed(ByteTokenizer(), [0xE8, 0xAA]) == ["", "", "\ufffd"]


def test_a_stream_of_broken_bytes_is_not_held_back_for_ever():
    pieces = streamed(ByteTokenizer(), [0xFF] * 50)
    assert pieces == ["\ufffd"] * 50 + [""]


@pytest.mark.parametrize("text", ["hello world", "the cat  sat", "naïve 語🙂語", "a\n\nb ", "語"])
def test_every_kind_streams_its_text(hugging_face, text):
    ids = hugging_face.encode(text)
    assert "".join(streamed(hugging_face, ids)) == hugging_face.decode(ids)


@given(data=st.data())
def test_any_ids_of_every_kind_stream_to_their_text(hugging_face, data):
    ids = data.draw(st.lists(st.integers(0, hugging_face.vocab_size - 1), max_size=12))
    expected = hugging_face.decode(ids, skip_special=True)
    assert "".join(streamed(hugging_face, ids)) == expected


def test_byte_fallback_gives_whole_characters(pieces):
    ids = pieces.encode("語🙂")
    assert len(ids) == 8, "the space, three bytes, four bytes"
    parts = streamed(pieces, ids)
    assert [part for part in parts if part] == ["語", "🙂"]


def test_broken_byte_fallback_is_not_held_back_for_ever(pieces):
    broken = pieces.encode("語")[1]
    assert streamed(pieces, [broken] * 40)[1:] == ["\ufffd"] * 40


class Opaque:
    """A tokenizer that can only decode whole sequences."""

    def __init__(self):
        self.specials = ByteTokenizer().specials
        self.decode = ByteTokenizer().decode


@given(text=TEXT)
def test_decoding_again_holds_back_unfinished_characters(text):
    pieces = streamed(Opaque(), list(text.encode()))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_decoding_again_gives_up_after_four_tokens():
    pieces = streamed(Opaque(), [0xFF] * 9 + [0x41])
    assert "".join(pieces) == "\ufffd" * 9 + "A"
    assert [bool(piece) for piece in pieces[:5]] == [False] * 4 + [True]
