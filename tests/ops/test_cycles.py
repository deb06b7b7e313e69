"""Keeping Python from looking for reference cycles, by several at once."""

from __future__ import annotations

import gc
import threading

import pytest

from rlcore.ops.cycles import no_collection


def test_nothing_is_collected_inside_and_the_setting_returns() -> None:
    assert gc.isenabled()
    with no_collection():
        assert not gc.isenabled()
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled(), "an outer one goes on"
    assert gc.isenabled()
    with pytest.raises(RuntimeError, match="inside"), no_collection():
        raise RuntimeError("inside")
    assert gc.isenabled()


def test_the_last_of_several_threads_turns_the_search_on_again() -> None:
    first, second = threading.Event(), threading.Event()

    def hold() -> None:
        with no_collection():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=hold)
    with no_collection():
        thread.start()
        assert first.wait(10)
    assert not gc.isenabled(), "the other thread is inside"
    second.set()
    thread.join(10)
    assert gc.isenabled()


def test_a_search_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
