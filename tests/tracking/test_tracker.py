"""The tracker outlives its sinks, and its files recover from a full disk."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlcore.errors import ConfigError
from rlcore.redact import Redactor
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.health import HealthMonitor
from rlcore.tracking.jsonl import JsonlWriter, read_jsonl
from rlcore.tracking.open_tracker import open_tracker
from rlcore.tracking.tracker import SinkDisabledError, Tracker
from rlcore.tracking.wandb_sink import WandbSettings


class ListSink:
    """Keeps what it is given; fails on demand."""

    def __init__(self, name: str = "list", fail: str = "", error: Exception | None = None) -> None:
        self.name = name
        self.records: list[dict[str, float]] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.closed = 0
        self._fail, self._error = fail, error or RuntimeError("broken")

    def _maybe(self, where: str) -> None:
        if self._fail == where:
            raise self._error

    def log(self, record: dict[str, float]) -> None:
        self._maybe("log")
        self.records.append(record)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._maybe("event")
        self.events.append((kind, fields))

    def close(self) -> None:
        self._maybe("close")
        self.closed += 1

    def warnings(self) -> list[str]:
        return [fields["message"] for kind, fields in self.events if kind == "warning"]


def test_records_reach_every_sink_as_plain_numbers() -> None:
    a, b = ListSink(), ListSink()
    tracker = Tracker([a, b])
    tracker.log({"step/env": np.int64(3), "loss/policy": np.float32(0.5), "loss/value": math.nan})
    assert a.records == b.records or math.isnan(a.records[0]["loss/value"])
    assert a.records[0]["step/env"] == 3
    assert type(a.records[0]["loss/policy"]) is float
    a.records[0]["step/env"] = 99
    assert b.records[0]["step/env"] == 3  # each sink has its own copy


@pytest.mark.parametrize("where", ["log", "event", "close"])
def test_a_raising_sink_is_dropped_with_one_warning(where: str) -> None:
    good, bad = ListSink("good"), ListSink("bad", where)
    tracker = Tracker([good, bad])
    for index in range(5):
        tracker.log({"step/env": index})
        tracker.event("tick", index=index)
    tracker.close()
    assert len(good.records) == 5
    assert good.warnings() == [
        "tracking with bad is off for the rest of this run: RuntimeError: broken"
    ]
    assert good.closed == 1


def test_a_disabled_sink_states_its_own_reason() -> None:
    good, bad = ListSink("good"), ListSink("bad", "log", SinkDisabledError("gone away"))
    tracker = Tracker([good, bad])
    tracker.log({"step/env": 0})
    assert good.warnings()[0].endswith("rest of this run: gone away")
    assert tracker.sinks == ("good",)


def test_only_the_failing_sink_exists() -> None:
    tracker = Tracker([ListSink("bad", "event")])
    tracker.event("tick")
    tracker.log({"step/env": 0})
    tracker.close()
    assert tracker.sinks == ()


def test_events_are_redacted_before_any_sink_sees_them() -> None:
    sink = ListSink()
    tracker = Tracker([sink], redactor=Redactor(["hunter2-hunter2"]))
    tracker.event("note", message="the key is hunter2-hunter2", deep={"a": ["hunter2-hunter2"]})
    assert "hunter2" not in json.dumps(sink.events)


def test_health_warnings_become_events_once() -> None:
    sink = ListSink()
    tracker = Tracker([sink], health=HealthMonitor())
    for index in range(3):
        tracker.log({"step/env": index, "fault/nonfinite": 2})
    assert len(sink.warnings()) == 1
    assert sink.warnings()[0].startswith("2 updates were skipped")


def test_resumed_marks_the_record() -> None:
    sink = ListSink()
    Tracker([sink]).resumed(env_steps=100, updates=4, wall_s=2.5, resumes=2)
    assert sink.records == [
        {"step/env": 100, "step/update": 4, "time/wall_s": 2.5, "run/resumes": 2}
    ]


def test_missing_axes_are_those_of_the_newest_training_record() -> None:
    sink = ListSink()
    tracker = Tracker([sink])
    tracker.log({"step/env": 5, "checkpoint/bytes": 1})
    tracker.log({"step/env": 100, "step/update": 4, "time/wall_s": 2.0})
    tracker.log({"step/env": 80, "eval/return_mean": 1.0})
    tracker.log({"checkpoint/bytes": 2})
    axes = [[r.get(a) for a in ("step/env", "step/update", "time/wall_s")] for r in sink.records]
    assert axes == [[5, None, None], [100, 4, 2.0], [80, 4, 2.0], [100, 4, 2.0]]


def test_the_context_manager_closes_once() -> None:
    sink = ListSink()
    with Tracker([sink]) as tracker:
        tracker.close()
    assert sink.closed == 1


# -- files --------------------------------------------------------------------------------------


def test_metrics_and_events_files(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    sink.log({"step/env": 40, "loss/policy": 1.0})
    sink.log({"step/env": 10, "eval/return_mean": 1.0})  # evaluated weights are older
    sink.event("checkpoint", {"path": "p"})
    sink.close()
    assert [r["step/env"] for r in read_jsonl(tmp_path / "metrics.jsonl")] == [40, 10]
    (event,) = read_jsonl(tmp_path / "events.jsonl")
    assert (event["kind"], event["step/env"], event["path"]) == ("checkpoint", 40, "p")
    assert event["time"].endswith("+00:00")


def test_a_full_disk_delays_lines_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    sink = JsonlSink(tmp_path, on_trouble=told.append)
    real = JsonlWriter.write
    monkeypatch.setattr(JsonlWriter, "write", _full)
    for index in range(3):
        sink.log({"step/env": index})
    assert len(told) == 1
    assert "No space left" in told[0]
    monkeypatch.setattr(JsonlWriter, "write", real)
    sink.log({"step/env": 3})
    sink.close()
    assert [r["step/env"] for r in read_jsonl(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]


def test_lines_lost_at_the_end_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = ListSink()
    tracker = Tracker([watcher, JsonlSink(tmp_path)])
    monkeypatch.setattr(JsonlWriter, "write", _full)
    tracker.log({"step/env": 0})
    tracker.close()
    assert any("1 lines were lost" in text for text in watcher.warnings())


def _full(self: JsonlWriter, record: object) -> None:
    raise OSError(28, "No space left on device")


# -- open_tracker -------------------------------------------------------------------------------


def test_open_tracker_writes_the_run_folder(tmp_path: Path) -> None:
    stream = io.StringIO()
    tracker = open_tracker(tmp_path / "run", console="plain", stream=stream)
    assert tracker.sinks == ("console", "metrics.jsonl", "tensorboard")
    tracker.log({"step/env": 10, "step/update": 1, "time/wall_s": 0.1, "loss/value": 2.0})
    tracker.close()
    assert len(read_jsonl(tmp_path / "run/metrics.jsonl")) == 1
    assert list((tmp_path / "run/tensorboard").glob("events*"))
    assert "env steps 10" in stream.getvalue()


def test_open_tracker_with_everything_off(tmp_path: Path) -> None:
    tracker = open_tracker(
        tmp_path / "run",
        jsonl=False,
        console="none",
        tensorboard=False,
        wandb=WandbSettings(mode="off"),
    )
    assert tracker.sinks == ()
    tracker.log({"step/env": 0})
    tracker.close()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"console": "loud"}, {"wandb": WandbSettings(mode="online")}])
def test_open_tracker_refuses_before_it_makes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError):
        open_tracker(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
