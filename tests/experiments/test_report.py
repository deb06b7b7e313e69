"""The report: one self-contained file with what a reader looks for."""

from __future__ import annotations

import base64
import json
import math
import re
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path

import pytest

from experiments.report_html import MAX_EVENTS, render_report, write_report
from experiments.runs import Run
from experiments.svg_chart import MAX_POINTS, Series, line_chart, tick_text, ticks
from rlcore.errors import RunFolderError
from rlcore.tracking.files import JsonlSink


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "2026 demo ü"
    sink = JsonlSink(folder)
    for index in range(1, 4):
        sink.log({"step/env": index * 1000, "step/update": index, "time/wall_s": index * 60.0,
                  "episode/return_mean": index * 10.0, "lag/mean": 1.0, "lag/max": 2,
                  "loss/value": math.nan, "perf/env_steps_per_s": 17.0,
                  "fault/restarts": 2})  # fmt: skip
    sink.log({"step/env": 3000, "eval/return_mean": 28.0, "eval/ci_low": 27.5,
              "eval/ci_high": 28.5})  # fmt: skip
    sink.event("started", {"from": "learner", "actor": None})
    sink.event("actor_lost", {"from": "actor-01", "cause": "killed by SIGKILL",
                              "restart_in_s": None})  # fmt: skip
    sink.close()
    (folder / "config.resolved.yaml").write_text(
        "name: demo\nseed: 7\nagent: {type: impala, gamma: 0.99}\nenv: {id: CartPole-v1}\n"
    )
    (folder / "STATUS.json").write_text(json.dumps({"state": "done"}))
    (folder / "git.json").write_text(json.dumps({"commit": "abc123", "dirty": False}))
    (folder / "environment.json").write_text(json.dumps({"packages": {"torch": "2.13.0"}}))
    (folder / "eval").mkdir()
    evaluation = {"env_steps": 3000, "return_mean": 28.0, "ci_low": 27.5, "ci_high": 28.5,
                  "episodes": [{"return": 27.0, "length": 27, "seed": 952996942},
                               {"return": 29.0, "length": 29, "seed": 6}]}  # fmt: skip
    (folder / "eval/000003000.json").write_text(json.dumps(evaluation))
    return Run(folder)


def test_it_holds_what_a_reader_looks_for(run: Run) -> None:
    page = write_report(run.path).read_text()
    for text in ("2026 demo ü", "impala", "CartPole-v1", "seed 7", "done", "3000", "3:00 min",
                 "95% CI 27.5 to 28.5", "actor restarts", "agent.gamma", "0.99", "abc123",
                 "packages.torch", "2.13.0", "killed by SIGKILL", "000003000.json",
                 "<td class=n>952996942</td>", "actor-01, killed by SIGKILL; no restart is left",
                 "<td>from learner</td>", "each of the 2 episodes", "Return", "Lag (versions)",
                 "Throughput"):  # fmt: skip
        assert text in page or escape(text) in page, text
    # Charts of metrics with no finite value are left out.
    assert "Value loss" not in page
    assert page.count("<svg") == 3


def test_it_is_self_contained(run: Run) -> None:
    (run.path / "videos").mkdir()
    (run.path / "videos/small.mp4").write_bytes(b"tiny video")
    page = render_report(run)
    assert base64.b64encode(b"tiny video").decode() in page
    assert "<script" not in page
    assert "<link" not in page
    assert not re.search(r"https?://", page)


def test_large_videos_are_linked_relatively(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.report_html.EMBED_BYTES", 4)
    (run.path / "videos").mkdir()
    (run.path / "videos/big one.mp4").write_bytes(b"12345")
    assert 'src="videos/big%20one.mp4"' in render_report(run)


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "STATUS.json").write_text('{"state": "failed"}')
    page = write_report(tmp_path).read_text()
    assert "failed" in page
    assert "<svg" not in page
    with pytest.raises(RunFolderError):
        write_report(tmp_path / "none")


def test_writing_twice_replaces_the_file(run: Run) -> None:
    write_report(run.path)
    path = write_report(run)
    assert sorted(p.name for p in run.path.glob("*report*")) == ["report.html"]
    assert path.read_text().endswith("</html>\n")


def test_secrets_are_redacted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-abcdef")
    with (run.path / "config.resolved.yaml").open("a") as file:
        file.write("note: canary-abcdef\n")
    assert "canary" not in write_report(run).read_text()


def test_many_events_are_cut_and_said(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    for index in range(MAX_EVENTS + 5):
        sink.event("tick", {"message": f"number {index}."})
    sink.close()
    page = render_report(Run(tmp_path))
    assert f"(the last {MAX_EVENTS} of {MAX_EVENTS + 5})" in page
    assert "number 4." not in page
    assert "number 5." in page


# -- charts -------------------------------------------------------------------------------------


def points_of(svg: str) -> list[list[tuple[float, float]]]:
    root = ET.fromstring(svg.partition('<div class="legend"')[0])
    return [
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        for line in root.iter("polyline")
    ]


def test_a_chart_is_well_formed_and_in_proportion() -> None:
    svg = line_chart([Series("a <b>", [(0, 0), (5, 5), (10, 10)])], "x & y")
    ((first, middle, last),) = points_of(svg)
    assert first[0] < middle[0] < last[0]
    assert first[1] > middle[1] > last[1]  # y grows upwards
    assert middle[0] == pytest.approx((first[0] + last[0]) / 2, abs=0.1)
    assert middle[1] == pytest.approx((first[1] + last[1]) / 2, abs=0.1)
    assert "a &lt;b&gt;" in svg
    assert "x &amp; y" in svg


def test_thinning_keeps_spikes_and_order() -> None:
    values = [(float(i), 0.0) for i in range(10_000)]
    values[4321] = (4321.0, 50.0)
    values[8765] = (8765.0, -50.0)
    (line,) = points_of(line_chart([Series("a", values)], "x"))
    assert len(line) <= MAX_POINTS + 2
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    heights = [y for _, y in line]
    assert min(heights) < 30  # the peak, near the top
    assert max(heights) > 190


@pytest.mark.parametrize("points", [[], [(1.0, math.nan)], [(math.inf, 1.0)]])
def test_nothing_finite_is_no_chart(points: list[tuple[float, float]]) -> None:
    assert line_chart([Series("a", points)], "x") == ""


@pytest.mark.parametrize("points", [[(1.0, 2.0)], [(1.0, 0.0), (2.0, 0.0)], [(0.0, -3.0)]])
def test_flat_and_single_points_are_drawn(points: list[tuple[float, float]]) -> None:
    svg = line_chart([Series("a", points)], "x")
    assert "nan" not in svg
    ET.fromstring(svg.partition('<div class="legend"')[0])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-0.06, 1.06, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
     (0, 300_000, [0, 100_000, 200_000, 300_000])],
)  # fmt: skip
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_tick_text() -> None:
    assert [tick_text(v) for v in (0.0, 0.25, 9000, 20_000, -3e6)] == [
        "0", "0.25", "9000", "20k", "-3M",
    ]  # fmt: skip
