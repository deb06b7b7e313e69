"""The console: 8-12 rows, plain text without escape codes, and what is being waited for."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest

from rlcore.tracking.console import LiveConsole, PlainConsole, make_console
from rlcore.tracking.view import (
    RunView,
    bytes_text,
    count_text,
    duration_text,
    event_line,
    rate_text,
)

RECORD = {
    "step/env": 50_000, "step/frames": 200_000, "step/update": 100, "time/wall_s": 10.0,
    "episode/return_mean": 120.0, "episode/return_std": 10.0, "episode/count": 250,
    "perf/env_steps_per_s": 5000.0, "perf/updates_per_s": 10.0, "lag/mean": 1.25, "lag/max": 3,
    "fault/healthy": 2, "fault/restarts": 1, "loss/policy": 0.1, "loss/value": 2.0,
    "policy/entropy": 0.6, "policy/kl": 0.01, "value/explained_variance": 0.9,
    "optim/grad_norm": 0.5, "optim/lr": 1e-3,
}  # fmt: skip


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def view(**options: Any) -> tuple[RunView, Clock]:
    clock = Clock()
    return RunView("demo", clock=clock, **options), clock


def rows(shown: RunView) -> dict[str, str]:
    return dict(shown.rows())


def test_rows_of_a_training_run() -> None:
    shown, _ = view(target_steps=100_000, actors=2)
    shown.log(RECORD)
    shown.log({"step/env": 40_000, "eval/return_mean": 300.0, "eval/ci_low": 290.0,
               "eval/ci_high": 310.0})  # fmt: skip
    assert rows(shown) == {
        "state": "training",
        "env steps": "50k / 100k (50%), 200k frames",
        # 1.96 x 10 / sqrt(99)
        "return": "120 ± 2 (last 100 episodes)",
        "evaluation": "300 [290, 310]",
        "throughput": "5,000 steps/s, 10 updates/s",
        "lag": "mean 1.25, max 3",
        "actors": "2/2 (1 restart)",
        "loss": "policy 0.1, value 2",
        "policy": "entropy 0.6, KL 0.01",
        "explained variance": "0.90",
        "gradient norm": "0.5, lr 0.001",
        "time": "10 s, 10 s left",
    }


def test_at_most_twelve_rows_and_one_line() -> None:
    shown, _ = view(target_steps=100_000, actors=2)
    shown.log(RECORD)
    assert 8 <= len(shown.rows()) <= 12
    assert "\n" not in shown.line()


def test_a_record_with_little_in_it_shows_little() -> None:
    shown, _ = view()
    shown.log({"step/env": 10, "step/update": 1, "time/wall_s": 0.5})
    assert rows(shown) == {
        "state": "training",
        "env steps": "10",
        "return": "no episode has ended yet",
        "time": "0 s",
    }


def test_what_is_waited_for() -> None:
    shown, clock = view(actors=2)
    assert rows(shown)["state"] == "starting, waiting for actors to start (0 of 2 ready) (0 s)"
    shown.event("started", {"actor": 0})
    shown.event("started", {"actor": 0})  # the same actor again, after a restart
    assert "(1 of 2 ready)" in rows(shown)["state"]
    shown.event("started", {"actor": 1})
    clock.now += 3
    assert rows(shown)["state"] == "starting, waiting for the first update (3 s)"
    shown.log({"step/env": 1, "step/update": 1, "run/resumes": 1})
    shown.log({"step/env": 1, "checkpoint/bytes": 5})
    assert rows(shown)["state"].startswith("starting")
    shown.log({"step/env": 1, "step/update": 1, "fault/healthy": 1})
    assert rows(shown)["state"] == "training"
    clock.now += 12
    assert rows(shown)["state"] == "training, waiting for the learner (1/2 actors healthy) (12 s)"
    shown.event("state", {"state": "evaluating", "waiting_for": "100 episodes"})
    assert rows(shown)["state"].startswith("evaluating, waiting for 100 episodes")
    shown.event("done", {"message": "x"})
    assert rows(shown)["state"] == "done"


def test_time_left_is_that_of_the_nearest_limit() -> None:
    shown, _ = view(target_steps=100_000, target_seconds=14.0)
    assert shown.eta_seconds() is None
    shown.log(RECORD)
    assert shown.eta_seconds() == pytest.approx(4.0)
    shown.target_seconds = None
    assert shown.eta_seconds() == pytest.approx(10.0)
    shown.log({**RECORD, "step/env": 200_000})
    assert shown.eta_seconds() == 0.0


def test_the_wall_clock_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, clock = view(target_steps=100_000)
    shown.log(RECORD)
    before = shown.rows()
    monkeypatch.setattr(time, "time", lambda: 0.0)  # jumps back to 1970
    assert shown.rows() == before
    clock.now += 5
    assert shown.quiet_seconds() == 5.0


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (9999, "9999"), (10_000, "10k"), (12_345, "12.35k"), (1e6, "1M"), (2.5e9, "2.5G")],
)
def test_counts(count: float, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.0, "0"), (0.1133, "0.11"), (9.3, "9.3"), (10.4, "10"), (1.5e6, "1,500,000")],
)
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (18_240, "5:04 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        ("checkpoint", {"from": "learner", "path": "/r/step-1", "step": 2_000_253, "bytes": 83_514,
                        "seconds": 0.0114, "final": True},
         "checkpoint: step 2,000,253, 83.5 kB in 0.01 s, /r/step-1"),
        ("eval", {"file": "/r/1.json", "eval/return_mean": 499.51, "eval/ci_low": 498.0,
                  "eval/ci_high": 500.0},
         "eval: return 499.5 (95% interval 498 to 500), /r/1.json"),
        ("actor_lost", {"from": "actor-01", "cause": "killed by SIGKILL", "fragments_lost": 1,
                        "restart_in_s": 0.4},
         "actor_lost: actor-01, killed by SIGKILL; starts again in 0.4 s"),
        ("actor_lost", {"from": "actor-01", "cause": "exit status 3", "restart_in_s": None},
         "actor_lost: actor-01, exit status 3; no restart is left"),
        ("resumed", {"checkpoint": "/r/s-7", "step": 7_000}, "resumed: at step 7,000, /r/s-7"),
        ("done", {"reason": "updates 3 >= 3", "path": "/r"}, "done: updates 3 >= 3, /r"),
        ("checkpoint", {"path": "/r", "step": "many", "bytes": 1, "seconds": 0.0},
         "checkpoint: path /r, step many, bytes 1, seconds 0.0"),
        ("checkpoint", {"path": "/r"}, "checkpoint: path /r"),
        ("warning", {"message": "careful"}, "warning: careful"),
        ("done", {}, "done"),
    ],
)  # fmt: skip
def test_event_lines_say_what_matters(kind: str, fields: dict[str, Any], line: str) -> None:
    assert event_line(kind, fields) == line


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (83_514, "83.5 kB"), (2.5e6, "2.5 MB"),
     (1.24e9, "1.24 GB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert bytes_text(count) == text


def test_event_lines_hold_no_control_characters() -> None:
    line = event_line("actor_lost", {"cause": "\x1b[31mred\nnext", "actor": 1})
    assert line == "actor_lost: cause  [31mred next, actor 1"
    assert len(event_line("eval", {"episodes": "x" * 5000})) == 500


# -- plain --------------------------------------------------------------------------------------


def plain() -> tuple[PlainConsole, io.StringIO, Clock]:
    shown, clock = view(target_steps=100_000, actors=2)
    stream = io.StringIO()
    return PlainConsole(shown, stream, clock=clock, background=False), stream, clock


def test_plain_lines_come_every_ten_seconds_without_escape_codes() -> None:
    console, stream, clock = plain()
    for _ in range(45):
        clock.now += 1
        console.log(RECORD)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 4  # the first record at once, then at 11, 21, 31, 41 s
    assert lines[0].startswith("demo: training | env steps 50k / 100k (50%)")
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_plain_says_what_it_waits_for_when_nothing_comes() -> None:
    console, stream, clock = plain()
    clock.now += 9.9
    console.tick()
    assert stream.getvalue() == ""
    clock.now += 0.1
    console.tick()
    assert "waiting for actors to start (0 of 2 ready) (10 s)" in stream.getvalue()


def test_plain_prints_notable_events_at_once() -> None:
    console, stream, _ = plain()
    console.event("warning", {"message": "lag is at its bound"})
    console.event("started", {"actor": 0})
    assert stream.getvalue() == "warning: lag is at its bound\n"


def test_plain_says_each_change_of_state_at_once() -> None:
    console, stream, _ = plain()
    console.event("state", {"state": "starting", "waiting_for": "the environments"})
    assert stream.getvalue().startswith("demo: starting, waiting for the environments (0 s)")
    console.log(RECORD)
    assert stream.getvalue().splitlines()[1].startswith("demo: training | env steps")


def test_the_thread_keeps_time_for_a_stalled_run() -> None:
    stream = io.StringIO()
    console = PlainConsole(RunView("demo", actors=1), stream, every_s=0.05)
    deadline = time.monotonic() + 5
    while stream.getvalue().count("waiting for") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    console.close()
    assert stream.getvalue().count("waiting for") >= 2


def test_a_closed_stream_does_not_end_the_run() -> None:
    stream = io.StringIO()
    console = PlainConsole(RunView("demo"), stream, background=False)
    stream.close()
    console.log(RECORD)
    console.close()


# -- live ---------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_live_table_shows_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    console = LiveConsole(RunView("[bold]demo[/nope]", target_steps=100_000, actors=2), stream)
    console.log(RECORD)
    console.event("warning", {"message": "[red]not markup"})
    console.close()
    text = stream.getvalue()
    assert "[bold]demo[/nope]" in text
    assert "warning: [red]not markup" in text
    assert "50k / 100k (50%)" in text


def test_the_mode_is_chosen_from_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    for mode, stream, kind in (
        ("auto", Terminal(), LiveConsole),
        ("auto", io.StringIO(), PlainConsole),
        ("plain", Terminal(), PlainConsole),
        ("live", io.StringIO(), LiveConsole),
    ):
        console = make_console(mode, RunView(), stream)
        assert type(console) is kind
        console.close()
    monkeypatch.setenv("TERM", "dumb")
    console = make_console("auto", RunView(), Terminal())
    assert type(console) is PlainConsole
    console.close()
    assert make_console("none", RunView()) is None
