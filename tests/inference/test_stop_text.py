"""Stop strings: the text before the first one, whatever the pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlcore.data.tokenizers import ByteTokenizer
from rlcore.inference.handles import NewToken
from rlcore.inference.stop_text import StopText
from rlcore.inference.stop_watch import StoppedText, StopWatch

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


class Handle:
    """A request whose tokens come several at a time, as where steps overlap."""

    class request:
        n = 2

    def __init__(self) -> None:
        self.dropped: list[int] = []
        self.roots = [Root(self, sample) for sample in range(2)]

    def new_tokens(self) -> list[NewToken]:
        letters = [(0, "a"), (1, "p"), (0, "x"), (0, "b"), (1, "q"), (0, "x"), (0, "c")]
        return [NewToken(s, (), 0, ord(x), 0.0, False, 0.0) for s, x in letters]


class Root:
    def __init__(self, handle: Handle, sample: int) -> None:
        self.handle, self.sample = handle, sample

    def drop(self) -> None:
        self.handle.dropped.append(self.sample)


def test_what_comes_behind_a_stop_in_the_same_step_is_forgotten() -> None:
    handle = Handle()
    watch = StopWatch(handle, ByteTokenizer(), ("x",))  # type: ignore[arg-type]
    watch.look()
    assert watch.texts == {0: StoppedText("a", 2)}
    assert handle.dropped == [0]
