"""A tracker that is down, slow or raising leaves training unaffected, with one warning."""

from __future__ import annotations

import io
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlcore.tracking.background import BackgroundSink
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.jsonl import read_jsonl
from rlcore.tracking.open_tracker import open_tracker
from rlcore.tracking.tracker import Tracker
from rlcore.tracking.wandb_sink import WandbSettings

UPDATES = 300


class Trouble:
    """A sink that blocks, raises, or is slow, from a given call on."""

    name = "trouble"

    def __init__(self, how: str, release: threading.Event, after: int = 0) -> None:
        self._how, self._release, self._after = how, release, after
        self.calls = 0

    def _act(self) -> None:
        self.calls += 1
        if self.calls <= self._after:
            return
        if self._how == "block":
            self._release.wait(60)
        elif self._how == "raise":
            raise ConnectionError("the server is gone")
        elif self._how == "slow":
            self._release.wait(0.05)

    def log(self, record: dict[str, float]) -> None:
        self._act()

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._act()

    def close(self) -> None:
        self._act()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets blocked threads go when the test ends."""
    event = threading.Event()
    yield event
    event.set()
    for thread in threading.enumerate():
        if thread.name.startswith("tracker-"):
            thread.join(5)


def train(tracker: Tracker) -> tuple[float, list[int]]:
    """Stand for a training loop; return its longest wait for the tracker and what it computed."""
    longest, value, trace = 0.0, 1, []
    for update in range(UPDATES):
        value = (value * 48271) % 2147483647
        trace.append(value)
        started = time.perf_counter()
        tracker.log({"step/env": update * 10, "step/update": update, "time/wall_s": update * 0.1})
        longest = max(longest, time.perf_counter() - started)
    return longest, trace


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("how", ["block", "raise", "slow"])
def test_training_is_unaffected(
    tmp_path: Path, release: threading.Event, how: str, after: int
) -> None:
    sink = BackgroundSink("trouble", lambda: Trouble(how, release, after), capacity=64, close_s=0.3)
    tracker = Tracker([JsonlSink(tmp_path), sink])
    longest, trace = train(tracker)
    started = time.perf_counter()
    tracker.close()
    assert time.perf_counter() - started < 3.0
    assert longest < 1.0  # a block lasts 60 s
    _, alone = train(Tracker([]))
    assert trace == alone
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == UPDATES
    events = read_jsonl(tmp_path / "events.jsonl")
    warnings = [event["message"] for event in events if event["kind"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0].startswith("tracking with trouble is off for the rest of this run: ")
    if how == "raise":
        assert "ConnectionError: the server is gone" in warnings[0]


def test_a_hang_is_noticed_while_training(tmp_path: Path, release: threading.Event) -> None:
    now = [0.0]
    sink = BackgroundSink(
        "trouble", lambda: Trouble("block", release), stall_s=60, clock=lambda: now[0]
    )
    tracker = Tracker([JsonlSink(tmp_path), sink])
    tracker.log({"step/env": 0})
    deadline = time.monotonic() + 5
    while sink._busy_since is None and time.monotonic() < deadline:
        time.sleep(0.001)
    now[0] = 59.0
    tracker.log({"step/env": 1})
    assert "trouble" in tracker.sinks
    now[0] = 61.0
    tracker.log({"step/env": 2})
    assert tracker.sinks == ("metrics.jsonl",)
    started = time.perf_counter()
    tracker.close()
    assert time.perf_counter() - started < 1.0
    (warning,) = read_jsonl(tmp_path / "events.jsonl")
    assert "it has not answered for 60 s" in warning["message"]


def test_a_sink_that_cannot_be_made_is_one_warning(tmp_path: Path) -> None:
    def make() -> Trouble:
        raise OSError("no route to host")

    sink = BackgroundSink("trouble", make)
    sink._thread.join(5)
    tracker = Tracker([JsonlSink(tmp_path), sink])
    train(tracker)
    tracker.close()
    (warning,) = read_jsonl(tmp_path / "events.jsonl")
    assert "OSError: no route to host" in warning["message"]


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_raising_wandb_is_one_line_on_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    module = types.ModuleType("wandb")

    def act(name: str) -> None:
        if where == name:
            raise RuntimeError(f"wandb {name} broke")

    run = types.SimpleNamespace(
        log=lambda values: act("log"),
        finish=lambda: act("finish"),
        define_metric=lambda name, step_metric: None,
        summary={},
    )

    def init(**arguments: object) -> object:
        act("init")
        return run

    module.Settings, module.init = dict, init  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace(name="wandb")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "wandb", module)
    stream = io.StringIO()
    tracker = open_tracker(
        tmp_path, console="plain", stream=stream, tensorboard=False,
        wandb=WandbSettings(mode="offline"),
    )  # fmt: skip
    train(tracker)
    tracker.close()
    assert stream.getvalue().count("tracking with wandb is off") == 1
    assert f"wandb {where} broke" in stream.getvalue()
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == UPDATES
