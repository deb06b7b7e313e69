"""Stop strings: the text before the first one, whatever the pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.inference.stop_text import StopText

LETTERS = st.text("ab\n", max_size=12)


def expected(text, stops):
    """The text as it is after each letter; a stop that ends first wins, as it comes first."""
    for end in range(1, len(text) + 1):
        hits = [end - len(s) for s in stops if text[:end].endswith(s)]
        if hits:
            return text[: min(hits)], True
    return text, False


@given(text=LETTERS, stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_letter_by_letter_it_ends_at_the_first_stop(text, stops):
    stop = StopText(stops)
    shown = "".join(stop.push(letter) for letter in text)
    before, found = expected(text, stops)
    assert (stop.found is not None) == found
    assert shown + (stop.finish() if not found else "") == before


@given(text=LETTERS, stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_nothing_is_shown_that_a_stop_could_take_back(text, stops):
    stop, shown = StopText(stops), ""
    for letter in text:
        shown += stop.push(letter)
        assert expected(text, stops)[0].startswith(shown)


@given(text=LETTERS)
def test_text_without_stops_is_shown_at_once(text):
    stop = StopText([])
    assert [stop.push(letter) for letter in text] == list(text)
    assert stop.finish() == ""


def test_a_piece_with_several_stops_ends_at_the_one_that_begins_first():
    stop = StopText(["END", "xE", "nothing"])
    assert stop.push("abxEND and more") == "ab"
    assert stop.found == "xE"
    assert stop.push("further") == stop.finish() == ""


def test_what_may_become_a_stop_is_held_back():
    stop = StopText(["</s>"])
    assert [stop.push(piece) for piece in ("a<", "/", "b<", "</s", ">c")] == [
        "a", "", "</b", "<", ""
    ]  # fmt: skip
    assert stop.found == "</s>"
    with pytest.raises(ValueError, match="must not be empty"):
        StopText([""])


def test_of_two_stops_that_begin_together_the_longer_is_found() -> None:
    for stops in (("ab", "abc"), ("abc", "ab")):
        stop = StopText(stops)
        assert stop.push("xabcy") == "x"
        assert stop.found == "abc"
