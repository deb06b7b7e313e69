"""The queue of a slow tracker is bounded; what it drops is counted, and the log has it all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlcore.tracking.background import BackgroundSink
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.jsonl import read_jsonl
from rlcore.tracking.tracker import Tracker

CAPACITY = 50
FLOOD = 5000


class Gate:
    """A sink that keeps what it gets, once the gate is open."""

    name = "gate"

    def __init__(self, entered: threading.Event, gate: threading.Event, seen: list[int]) -> None:
        self._entered, self._gate, self._seen = entered, gate, seen

    def log(self, record: dict[str, float]) -> None:
        self._entered.set()
        self._gate.wait(30)
        self._seen.append(int(record["step/env"]))

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.timeout(30)
def test_a_flood_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    entered, gate, seen = threading.Event(), threading.Event(), []
    sink = BackgroundSink("gate", lambda: Gate(entered, gate, seen), capacity=CAPACITY)
    tracker = Tracker([JsonlSink(tmp_path), sink])
    tracker.log({"step/env": 0})
    assert entered.wait(10)  # the first record is out of the queue and held in the sink
    longest = 0
    for step in range(1, FLOOD):
        tracker.log({"step/env": step})
        longest = max(longest, len(sink._entries))
    assert longest == CAPACITY
    gate.set()
    tracker.close()
    assert seen == [0, *range(FLOOD - CAPACITY, FLOOD)]
    dropped = FLOOD - 1 - CAPACITY
    assert tracker.dropped == dropped
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert [record["step/env"] for record in records] == list(range(FLOOD))
    # A record tells how many were dropped before it.
    assert "tracker/dropped" not in records[CAPACITY]
    assert records[-1]["tracker/dropped"] == dropped - 1


@pytest.mark.timeout(30)
def test_nothing_is_dropped_while_the_sink_keeps_up(tmp_path: Path) -> None:
    entered, gate, seen = threading.Event(), threading.Event(), []
    gate.set()
    sink = BackgroundSink("gate", lambda: Gate(entered, gate, seen), capacity=FLOOD)
    tracker = Tracker([sink])
    for step in range(FLOOD):
        tracker.log({"step/env": step})
    tracker.close()
    assert seen == list(range(FLOOD))
    assert tracker.dropped == 0
