"""The run store: resume-aware metrics, selectors, summaries, differences, removal."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.runs import (
    Run,
    diff_runs,
    flatten,
    last_values,
    list_runs,
    read_metrics,
    remove_run,
    resolve_run,
    show_run,
)
from rlcore.errors import ConfigError, RunFolderError
from rlcore.tracking.files import JsonlSink


def make(root: Path, name: str, *, seed: int = 0, state: str = "done", age: int = 0) -> Path:
    folder = root / name
    sink = JsonlSink(folder)
    sink.log({"step/env": 100, "step/update": 1, "time/wall_s": 1.0, "loss/value": 1.0 + seed})
    sink.close()
    config = f"name: demo\nseed: {seed}\nagent: {{type: impala, gamma: 0.99}}\nenv: {{id: X-v0}}\n"
    (folder / "config.resolved.yaml").write_text(config)
    (folder / "STATUS.json").write_text(json.dumps({"state": state, "pid": os.getpid()}))
    os.utime(folder / "config.resolved.yaml", (1000 + age, 1000 + age))
    return folder


def record(step: int, **values: float) -> dict[str, float]:
    return {"step/env": step, **{name.replace("__", "/"): v for name, v in values.items()}}


def test_a_resume_drops_what_was_trained_again(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    for step in (10, 20, 30):
        sink.log(record(step, loss__value=step))
    sink.log(record(30, eval__return_mean=1.0))
    sink.log(record(20, run__resumes=1))
    sink.log(record(25, loss__value=25.5))
    sink.log(record(20, eval__return_mean=2.0))  # older weights, evaluated late: kept
    sink.close()
    steps = [(r["step/env"], r.get("loss/value")) for r in read_metrics(tmp_path)]
    assert steps == [(10, 10), (20, 20), (20, None), (25, 25.5), (20, None)]


def test_two_resumes(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    for step, resumes in ((10, 0), (20, 0), (10, 1), (15, 0), (25, 0), (0, 2), (5, 0)):
        sink.log(record(step, **({"run__resumes": resumes} if resumes else {})))
    sink.close()
    assert [r["step/env"] for r in read_metrics(tmp_path)] == [0, 5]


def test_last_values_keep_the_training_axes() -> None:
    records = [record(10, loss__value=1), record(50, loss__value=2),
               record(20, eval__return_mean=3)]  # fmt: skip
    assert last_values(records) == {"step/env": 50, "loss/value": 2, "eval/return_mean": 3}


def test_runs_are_listed_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    make(tmp_path, "b", age=1)
    make(tmp_path, "a", age=2)
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "latest").symlink_to("a")
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a"]
    assert list_runs(tmp_path / "none") == []


def test_selectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("runs")
    make(root, "2026-01-01_pong_s0_aa", age=1)
    make(root, "2026-01-02_pong s1 ü_bb", age=2)
    make(root, "2026-01-02", age=0)
    whole = str(tmp_path / "runs/2026-01-01_pong_s0_aa")
    name = "2026-01-01_pong_s0_aa"
    for selector in (f"runs/{name}", name, "2026-01-01", "runs/2026-01-01_p", whole):
        assert resolve_run(selector).name == "2026-01-01_pong_s0_aa"
    assert resolve_run("2026-01-02").name == "2026-01-02"  # a whole name is no prefix
    assert resolve_run("2026-01-02_").name == "2026-01-02_pong s1 ü_bb"
    # Without a link the newest run is the latest one; the link wins where there is one.
    assert (
        resolve_run("latest").name == resolve_run("runs/latest").name == "2026-01-02_pong s1 ü_bb"
    )
    (root / "latest").symlink_to("2026-01-01_pong_s0_aa")
    for selector in ("latest", "runs/latest", str(tmp_path / "runs/latest")):
        assert resolve_run(selector).path.name == "2026-01-01_pong_s0_aa"


def test_selectors_that_do_not_match_say_what_there_is(tmp_path: Path) -> None:
    make(tmp_path, "one-a")
    make(tmp_path, "one-b")
    with pytest.raises(RunFolderError, match=r"'one' matches 2 runs in .*: one-a, one-b"):
        resolve_run("one", tmp_path)
    with pytest.raises(RunFolderError, match=r"no run 'two' in .*; the newest there: one-a, one-b"):
        resolve_run("two", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match="is not a run folder"):
        resolve_run(tmp_path / "empty")
    with pytest.raises(RunFolderError, match=r"no runs in .*; start one with"):
        resolve_run(tmp_path / "empty/latest")


def test_a_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", state="running")
    assert Run(folder).state == "running"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (folder / "STATUS.json").write_text(json.dumps({"state": "running", "pid": child.pid}))
    assert Run(folder).state == "lost"
    (folder / "STATUS.json").write_text(json.dumps({"state": "done", "pid": child.pid}))
    assert Run(folder).state == "done"


def test_show(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", seed=3)
    (folder / "checkpoints/step-000000100").mkdir(parents=True)
    summary = show_run(folder)
    assert (summary["agent"], summary["env"], summary["seed"]) == ("impala", "X-v0", 3)
    assert (summary["state"], summary["env_steps"], summary["updates"]) == ("done", 100, 1)
    assert summary["checkpoints"] == ["step-000000100"]
    json.dumps(summary)


def test_diff(tmp_path: Path) -> None:
    a, b = make(tmp_path, "a", seed=0), make(tmp_path, "b", seed=1)
    with (b / "config.resolved.yaml").open("a") as file:
        file.write("stop: {env_steps: 5}\n")
    difference = diff_runs(a, b)
    assert difference.config == {"seed": (0, 1), "stop.env_steps": (None, 5)}
    assert difference.metrics == {"loss/value": (1.0, 2.0)}
    same = diff_runs(a, a)
    assert (same.config, same.metrics) == ({}, {})


def test_diff_of_values_that_python_calls_equal(tmp_path: Path) -> None:
    a, b = make(tmp_path, "a"), make(tmp_path, "b")
    (a / "config.resolved.yaml").write_text("x: true\ny: 1\nz: .nan\n")
    (b / "config.resolved.yaml").write_text("x: 1\ny: 1.0\nz: .nan\n")
    assert diff_runs(a, b).config == {"x": (True, 1)}


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_remove_moves_the_latest_link(tmp_path: Path) -> None:
    make(tmp_path, "a", age=1)
    make(tmp_path, "b", age=2)
    (tmp_path / "latest").symlink_to("b")
    remove_run(Run(tmp_path / "b"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "latest"]
    assert (tmp_path / "latest").resolve().name == "a"
    remove_run(resolve_run(tmp_path / "latest"))
    assert list(tmp_path.iterdir()) == []


def test_remove_refuses_live_runs_and_other_folders(tmp_path: Path) -> None:
    folder = make(tmp_path, "a", state="running")
    with pytest.raises(RunFolderError, match=rf"still running \(pid {os.getpid()}\)"):
        remove_run(folder)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunFolderError, match="not a run folder"):
        remove_run(Run(tmp_path / "other"))
    assert folder.exists()


def test_broken_files_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    (folder / "STATUS.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"STATUS\.json"):
        _ = Run(folder).status
    (folder / "STATUS.json").write_text("[]")
    with pytest.raises(RunFolderError, match="wanted a JSON object, got list"):
        _ = Run(folder).status


def test_evaluations_are_ordered_by_step(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    (folder / "eval").mkdir()
    for name, step in (("b", 5), ("a", 50), ("c", 20)):
        (folder / f"eval/{name}.json").write_text(json.dumps({"env_steps": step}))
    assert [e["file"] for e in Run(folder).evaluations()] == ["b.json", "c.json", "a.json"]


def test_yaml_tags_do_not_execute(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    (folder / "config.resolved.yaml").write_text("x: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(RunFolderError, match="python/object"):
        _ = Run(folder).config


def test_metrics_of_a_killed_run(tmp_path: Path) -> None:
    folder = make(tmp_path, "a")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step/env": 200, "loss/value": "NaN"}\n{"step/env": 3')
    records = Run(folder).metrics()
    assert [r["step/env"] for r in records] == [100, 200]
    assert math.isnan(records[1]["loss/value"])


@pytest.mark.parametrize("episodes", ["3", 0, 2.0, True])
def test_a_wrong_number_of_episodes_is_named(episodes: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="episodes must be a whole number >= 1, got"):
        Run(tmp_path).evaluate(episodes)


def test_overrides_in_one_string_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a list of 'key=value' strings, got 'seed=3'"):
        experiments.run({}, "seed=3", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_online_tracking_without_a_key_is_refused_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    config = {"env": "CartPole-v1", "agent": "impala", "stop": {"updates": 1}}
    with pytest.raises(ConfigError, match="no key was found"):
        experiments.run(config, ["track.wandb=online"], out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
