"""Learning curves: the numbers drawn, bands from three runs on, and files that open."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import plotting
from experiments.plotting import Curve, at_steps, band, group_of, plot_runs, read_curve
from experiments.runs import Run
from rlcore.errors import ConfigError, MissingDependencyError
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.statistics import bootstrap_ci, iqm

PNG = b"\x89PNG\r\n\x1a\n"


def make(root: Path, name: str, offset: float = 0.0, *, group: str = "demo", count: int = 6) -> Run:
    sink = JsonlSink(root / name)
    for index in range(1, count + 1):
        sink.log(
            {"step/env": index * 10, "step/frames": index * 40, "step/update": index,
             "time/wall_s": index * 6.0, "episode/return_mean": index + offset}
        )  # fmt: skip
    sink.log({"step/env": 30, "step/update": 3, "time/wall_s": 18.0, "eval/return_mean": 3.5,
              "eval/ci_low": 3.0, "eval/ci_high": 4.0})  # fmt: skip
    sink.close()
    (root / name / "config.resolved.yaml").write_text(f"name: {group}\nenv: {{id: $X_1-v0$}}\n")
    return Run(root / name)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_single_run_goes_into_its_folder_with_a_table(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = make(tmp_path, "a")
    path = plot_runs([run.path])
    assert path == run.path / "plots/learning_curve.png"
    assert path.read_bytes().startswith(PNG)
    table = rows(path.with_suffix(".csv"))
    curve = [(float(r["env_steps"]), float(r["value"])) for r in table
             if r["series"] == "episode/return_mean"]  # fmt: skip
    assert curve == [(10.0 * i, float(i)) for i in range(1, 7)]
    (mark,) = [r for r in table if r["series"] == "eval/return_mean"]
    assert [float(mark[k]) for k in ("env_steps", "value", "ci_low", "ci_high")] == [30, 3.5, 3, 4]


@pytest.mark.parametrize(
    ("x", "first"), [("env_steps", 10.0), ("frames", 40.0), ("updates", 1.0), ("wall", 0.1)]
)
def test_axes(tmp_path: Path, x: str, first: float) -> None:
    curve = read_curve(make(tmp_path, "a"), x, "episode/return_mean")
    assert curve is not None
    assert curve.x[0] == pytest.approx(first)


@pytest.mark.parametrize(("runs", "banded"), [(2, False), (3, True)])
def test_bands_from_three_runs_on(tmp_path: Path, runs: int, banded: bool) -> None:
    pytest.importorskip("matplotlib")
    made = [make(tmp_path, f"r{i}", offset=i) for i in range(runs)]
    path = plot_runs(made, out=tmp_path / "out/x.svg")
    assert path.read_text().lstrip().startswith("<?xml")
    series = {r["series"] for r in rows(path.with_suffix(".csv"))}
    assert ("iqm episode/return_mean" in series) is banded


def test_the_band_is_the_iqm_and_its_interval_where_all_runs_reach() -> None:
    curves = [
        Curve("a", "g", np.array([0.0, 10.0, 20.0]), np.array([0.0, 1.0, 2.0])),
        Curve("b", "g", np.array([5.0, 15.0]), np.array([10.0, 20.0])),
        Curve("c", "g", np.array([0.0, 30.0]), np.array([100.0, 200.0])),
    ]
    table = band(curves)
    assert (table[0, 0], table[-1, 0]) == (5.0, 15.0)
    for position, middle, low, high in table[[0, 99, -1]]:
        values = [at_steps(curve, np.array([position]))[0] for curve in curves]
        assert middle == iqm(values)
        assert (low, high) == bootstrap_ci(values, iqm, repetitions=plotting.REPETITIONS)
    assert table[0, 1] == pytest.approx((0 + 10 + 100) / 3)
    assert table[-1, 1] == pytest.approx((1 + 20 + 100) / 3)


def test_values_hold_until_the_next_record() -> None:
    curve = Curve("a", "g", np.array([10.0, 20.0]), np.array([1.0, 2.0]))
    assert at_steps(curve, np.array([10.0, 19.9, 20.0, 99.0])).tolist() == [1, 1, 2, 2]


def test_non_finite_values_are_left_out(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    for step, value in ((1, math.nan), (2, 5.0), (3, math.inf)):
        sink.log({"step/env": step, "episode/return_mean": value})
    sink.close()
    curve = read_curve(Run(tmp_path), "env_steps", "episode/return_mean")
    assert curve is not None
    assert (curve.x.tolist(), curve.y.tolist()) == ([2.0], [5.0])


def test_several_experiments_are_separate_groups(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = [make(tmp_path, f"a{i}", group="one") for i in range(3)]
    made.append(make(tmp_path, "b", group="two $broken"))
    table = rows(plot_runs(made, out=tmp_path / "x.png").with_suffix(".csv"))
    banded = {r["group"] for r in table if r["series"].startswith("iqm")}
    assert banded == {"one"}
    assert {r["group"] for r in table} == {"one", "two $broken"}


def test_group_without_a_name(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    (run.path / "config.resolved.yaml").write_text("agent: {type: a3c}\nenv: {id: X-v0}\n")
    assert group_of(run) == "a3c X-v0"
    (run.path / "config.resolved.yaml").unlink()
    assert group_of(run) == "a"


def test_nothing_to_plot_is_said(tmp_path: Path) -> None:
    run = make(tmp_path, "a", count=0)
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"nothing to plot: no episode/return_mean .*/a"):
        plot_runs([run])
    with pytest.raises(ConfigError, match="x must be one of env_steps, frames, updates, wall"):
        plot_runs([run], x="tokens")


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"rlcore\[plot\]"):
        plot_runs([make(tmp_path, "a")])


def test_plotting_leaves_no_global_figure_state(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_runs([make(tmp_path, "a")])
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
