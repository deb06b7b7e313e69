"""The command line: what each command prints and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from experiments import cli
from experiments.cli_guard import check_agents_package
from experiments.cli_runs import checkpoint_selector
from experiments.cli_text import cell, jsonable, table
from experiments.cli_train import split_arguments
from experiments.runner import Interrupted
from experiments.runs import Run
from experiments.validate import load_config
from rlcore.errors import (
    CheckpointError,
    ConfigError,
    LearnerError,
    MissingDependencyError,
    RlcoreError,
    RunFolderError,
    RunFolderWriteError,
)

FILE = """\
rlcore: 1
name: small
env: {id: CartPole-v1, num_envs: 4}
agent: {type: impala, unroll: 8, network: {hidden: [8]}}
learner: {optimizer: {type: sgd, lr: 0.01}}
runtime: {placement: inline, schedule: serial}
stop: {updates: 3}
eval: {episodes: 2}
track: {wandb: off, tensorboard: false, console: plain}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(FILE)
    return tmp_path


def start(root: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | options.pop("env", {}),
        **options,
    )


def rlcore(root: Path, *words: str, **options: Any) -> tuple[int, str, str]:
    """Run a command line in a process of its own; return exit code, stdout, stderr."""
    process = start(root, *words, **options)
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def fastest(root: Path, *words: str) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert rlcore(root, *words)[0] == 0
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.alone
def test_help_is_quick(repo_root: Path) -> None:
    assert fastest(repo_root, "--help") < 0.3
    assert fastest(repo_root, "run", "--help") < 0.3


@pytest.mark.parametrize("command", ["run", "validate", "eval", "play", "plot", "report", "ls",
                                     "show", "diff", "rm", "list", "explain", "schema", "doctor",
                                     "bench", "env"])  # fmt: skip
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: rlcore" in out
    assert "\x1b" not in out


def test_help_is_that_of_the_whole_application(capsys: pytest.CaptureFixture[str]) -> None:
    # main() builds the parameters of the named command alone; no help text may differ for it.
    whole = typer.main.get_command(cli.app)
    groups = {name: getattr(command, "commands", {}) for name, command in whole.commands.items()}
    lines = [[], *([name] for name in groups), *([g, c] for g in groups for c in groups[g])]
    assert ["env", "check"] in lines
    assert ["run"] in lines
    for words in lines:
        whole.main([*words, "--help"], prog_name="rlcore", standalone_mode=False)
        wanted = capsys.readouterr().out
        assert cli.main([*words, "--help"]) == 0
        assert capsys.readouterr().out == wanted, words


def test_a_command_may_stand_after_a_double_dash(folder: Path) -> None:
    assert cli.main(["--", "validate", "small.yaml"]) == 0


def test_help_loads_nothing_heavy(repo_root: Path) -> None:
    code = (
        "import sys; from experiments import cli; cli.main(['--help']); "
        "heavy = {'torch', 'numpy', 'pydantic', 'gymnasium', 'ray', 'wandb', 'rich', 'yaml'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# -- exit codes ---------------------------------------------------------------------------------


class _Stopped(RlcoreError):
    signal = "SIGINT"


class _Preempted(RlcoreError):
    signal = "SIGTERM"


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("x"), 2), (RunFolderError("x"), 2), (MissingDependencyError("x"), 3),
     (RunFolderWriteError("x"), 1), (CheckpointError("x"), 4), (RlcoreError("x"), 1),
     (LearnerError("x"), 1),
     (_Stopped("x"), 130), (_Preempted("x"), 0)],
)  # fmt: skip
def test_exit_code_of_each_error(error: RlcoreError, code: int) -> None:
    assert cli.exit_code(error) == code


def test_exit_codes_of_processes(repo_root: Path, folder: Path) -> None:
    code, out, err = rlcore(repo_root, "validate", "small.yaml", "agent.lr=1")
    assert (code, out) == (2, "")
    assert err.startswith("small.yaml: 1 problem\n")
    assert "did you mean 'learner.optimizer.lr'?" in err
    assert rlcore(repo_root, "validate", "nope.yaml")[::2] == (
        2,
        "error: nope.yaml: no such file\n",
    )
    assert rlcore(repo_root, "run")[0] == 2
    assert rlcore(repo_root, "run", "small.yaml", "--nope")[0] == 2
    assert rlcore(repo_root, "nope")[0] == 2
    assert rlcore(repo_root, "eval", "runs/latest")[0] == 2
    assert rlcore(repo_root, "bench", "nope")[0] == 2
    assert rlcore(repo_root, "env", "check", "Nope-v0")[0] == 2


def test_missing_package_is_3(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    assert cli.main(["validate", "small.yaml", "env=ALE/Pong-v5"]) == 3
    assert "rlcore[atari]" in capsys.readouterr().err


def test_keyboard_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_invoke", stop)
    assert cli.main(["ls"]) == 130


def test_a_bug_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_invoke", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["ls"])


# -- the packages -------------------------------------------------------------------------------


def test_a_foreign_agents_package_is_named(repo_root: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "site/agents"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise RuntimeError('imported')\n")
    path = {"PYTHONPATH": f"{foreign.parent}:{repo_root}"}
    code, _, err = rlcore(repo_root, "list", "agents", env=path, cwd=tmp_path)
    assert code == 2
    assert f"the package 'agents' found in {foreign} is not rlcore's" in err
    assert "environment of its own" in err


def test_our_own_agents_package_passes() -> None:
    check_agents_package()


# -- run, step by step --------------------------------------------------------------------------


def test_a_run_from_file_to_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "small.yaml", "--name", "one", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("rlcore ")
    assert "small.yaml seed=3\n" in err.splitlines(keepends=True)[0]
    assert "\x1b" not in out + err
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["run"] == "runs/one"
    assert lines["state"] == "finished: updates 3 >= 3"
    assert lines["report"] == "rlcore report runs/one"
    assert Path(lines["evaluation"]).is_file()
    assert load_config("runs/one/config.resolved.yaml").config.seed == 3

    assert cli.main(["run", "small.yaml", "--name", "one"]) == 2
    err = capsys.readouterr().err
    assert "--resume runs/one" in err
    assert "--new" in err
    assert cli.main(["run", "small.yaml", "--name", "one", "--new"]) == 0
    assert cli.main(["run", "--resume", "runs/one", "stop.updates=5"]) == 0
    assert "state       finished: updates 5 >= 5" in capsys.readouterr().out
    assert load_config("runs/one/config.resolved.yaml").config.stop.updates == 5
    assert cli.main(["run", "--resume", "runs/one", "agent.gamma=0.5"]) == 2
    assert "agent.gamma: 0.99 -> 0.5" in capsys.readouterr().err
    assert cli.main(["run", "--resume", "runs/one", "small.yaml"]) == 2
    assert cli.main(["run", "small.yaml", "--allow-change", "seed"]) == 2
    capsys.readouterr()

    assert cli.main(["eval", "runs/one", "--episodes", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["episodes"]) == 3
    assert cli.main(["eval", "runs/one", "--episodes", "2", "--stochastic"]) == 0
    assert "eval/return_mean" in capsys.readouterr().out
    assert cli.main(["eval", "runs/one", "--step", "step=1"]) == 4
    assert cli.main(["eval", "runs/one", "--step", "newest"]) == 2
    assert cli.main(["report", "runs/one"]) == 0
    assert capsys.readouterr().out.endswith("runs/one/report.html\n")
    assert cli.main(["show", "runs/one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["updates"] == 5
    assert cli.main(["show", "runs/one"]) == 0
    assert "step/update" in capsys.readouterr().out
    assert cli.main(["ls", "--json"]) == 0
    names = [run["name"] for run in json.loads(capsys.readouterr().out)]
    assert names[0] == "one"
    assert len(names) == 2
    assert cli.main(["ls"]) == 0
    assert "finished" in capsys.readouterr().out
    assert cli.main(["diff", names[0], names[1]]) == 0
    assert "stop.updates" in capsys.readouterr().out
    assert cli.main(["rm", names[1]]) == 2
    assert cli.main(["rm", names[1], "--yes"]) == 0
    assert not (folder / "runs" / names[1]).exists()


def test_an_allowed_change_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = "learner.optimizer.lr=0.5"
    resume = ["run", "--resume", "runs/one"]
    assert cli.main(["run", "small.yaml", "--name", "one"]) == 0
    assert cli.main([*resume, "stop.updates=5", change]) == 2
    allowed = [*resume, "stop.updates=5", change, "--allow-change", "learner.optimizer"]
    assert cli.main(allowed) == 0
    capsys.readouterr()
    assert cli.main([*resume, "stop.updates=8"]) == 0
    out, err = capsys.readouterr()
    assert "finished: updates 8 >= 8" in out
    events = [json.loads(line) for line in Path("runs/one/events.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in events if event["kind"] == "checkpoint"]
    resumed = [event["step"] for event in events if event["kind"] == "resumed"]
    assert resumed == steps[:2], err  # each from the newest checkpoint
    assert load_config("runs/one/config.resolved.yaml").config.learner.optimizer.lr == 0.5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_leaves_a_run_that_goes_on(
    repo_root: Path, folder: Path, number: signal.Signals, code: int
) -> None:
    process = start(repo_root, "run", "small.yaml", "--name", "one", "stop.updates=10M")
    try:
        status = folder / "runs/one/STATUS.json"
        deadline = time.monotonic() + 60
        metrics = folder / "runs/one/metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, err
    assert "rlcore run --resume" in err
    wanted = "interrupted" if number == signal.SIGINT else "preempted"
    assert json.loads(status.read_text())["state"] == wanted
    assert cli.main(["run", "--resume", "runs/one", "stop.updates=1"]) == 0


def test_a_second_signal_stops_at_once(repo_root: Path, folder: Path) -> None:
    """The first waits for a last checkpoint, and so for a slow environment; the second does not."""
    slow = ["env.id=testing/faulty-v0", "env.module=envs", "env.kwargs={fault: slow, seconds: 3}"]
    limits = ["stop.updates=10M", "env.num_envs=1", "runtime={placement: local, schedule: async}"]
    process = start(repo_root, "run", "small.yaml", "--name", "one", *slow, *limits)
    try:
        wait_for(folder / "runs/one/events.jsonl", '"started"', process)
        process.send_signal(signal.SIGINT)
        wait_for(folder / "runs/one/events.jsonl", '"stopping"', process)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert time.monotonic() - sent < 10
    status = json.loads((folder / "runs/one/STATUS.json").read_text())
    assert status["state"] == "interrupted"
    assert status["reason"] == "training was stopped at once by SIGINT"


def test_a_stop_before_a_checkpoint_promises_no_resume(tmp_path: Path) -> None:
    (tmp_path / "checkpoints/.tmp-step-1").mkdir(parents=True)
    assert (
        str(Interrupted("SIGINT", Run(tmp_path))) == "SIGINT: the run stopped before a checkpoint"
    )
    (tmp_path / "checkpoints/step-000000000001").mkdir()
    wanted = f"SIGINT: the run stopped; go on with: rlcore run --resume {tmp_path}"
    assert str(Interrupted("SIGINT", Run(tmp_path))) == wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_final_evaluation(
    repo_root: Path, folder: Path, number: signal.Signals
) -> None:
    words = ["stop.updates=2", "eval.episodes=1000000"]
    process = start(repo_root, "run", "small.yaml", "--name", "one", *words)
    try:
        wait_for(folder / "runs/one/events.jsonl", '"evaluating"', process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (130 if number == signal.SIGINT else 0), err
    status = json.loads((folder / "runs/one/STATUS.json").read_text())
    assert status["state"] == ("interrupted" if number == signal.SIGINT else "preempted")
    assert status["reason"] == f"evaluation was stopped at once by {number.name}"
    assert cli.main(["eval", "runs/one", "--episodes", "1"]) == 0  # training had been saved


def wait_for(path: Path, text: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"no {text} in {path}"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_dry_run_prints_what_can_be_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "small.yaml", "seed=4", "--dry-run"]) == 0
    (folder / "again.yaml").write_text(capsys.readouterr().out)
    assert load_config("again.yaml").hash == load_config("small.yaml", ["seed=4"]).hash
    assert not (folder / "runs").exists()


@pytest.mark.alone
def test_the_first_line_comes_before_anything_heavy(repo_root: Path, folder: Path) -> None:
    process = start(repo_root, "run", "small.yaml", "stop.updates=1")
    started = time.perf_counter()
    assert process.stderr is not None
    first = process.stderr.readline()
    assert time.perf_counter() - started < 1.0
    assert first.endswith("small.yaml stop.updates=1\n")
    process.communicate(timeout=60)
    assert process.returncode == 0


# -- the rest -----------------------------------------------------------------------------------


def test_validate_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "small.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is True
    assert found["hash"] == load_config("small.yaml").hash
    assert cli.main(["validate", "small.yaml", "agent.gama=1", "--json"]) == 2
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert problem == {
        "key": "agent.gama",
        "message": "unknown key; did you mean 'gamma'?",
        "source": "agent.gama=1",
        "line": 1,
        "column": 7,
    }


def test_strict_makes_environment_and_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["validate", "small.yaml", "--strict"]) == 0
    wrong = ["validate", "small.yaml", "env.kwargs.no_such=1", "env.vectorization=sync"]
    assert cli.main(wrong) == 0
    assert cli.main([*wrong, "--strict"]) == 2
    assert "no_such" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_told_before_there_is_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wanted = ["small.yaml", "learner.device=cuda"]
    assert cli.main(["validate", *wanted]) == 0  # it may be meant for another machine
    for words in (["run", *wanted], ["validate", "--strict", *wanted]):
        assert cli.main(words) == 2
        assert "override #1" in (err := capsys.readouterr().err)
        assert "torch sees no CUDA device: use 'auto' or 'cpu'" in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "video"),
    [(["--video"], ""), (["--video", "a.mp4"], "a.mp4"), (["--video=a.gif"], "a.gif"), ([], None)],
)
def test_video_may_stand_alone(
    words: list[str], video: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def play_run(run: str, **options: Any) -> dict[str, Any]:
        seen.update(options, run=run)
        return {"return": [1.0], "frames": 1, "video": "a.mp4"}

    import experiments.play

    monkeypatch.setattr(experiments.play, "play_run", play_run)
    for order in (["runs/x", *words], [*words, "runs/x"]):
        assert cli.main(["play", *order, "--step", "12"]) == 0
        assert seen["run"] == "runs/x"
        assert seen["video"] == (video or None)
        assert seen["selector"] == "step=12"


def test_bench_passes_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.bench.suite as suite

    seen: list[Any] = []
    monkeypatch.setattr(suite, "run_bench", lambda name, **options: seen.append((name, options)))
    file = tmp_path / "new/b.json"
    assert cli.main(["bench", "core", "--json", str(file), "--repeats", "2"]) == 0
    assert seen == [("core", {"json_path": file, "repeats": 2, "only": ""})]
    assert file.parent.is_dir()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["list", "agents"], "impala"),
        (["list", "optimizers"], "rmsprop"),
        (["list", "estimators"], "backprop"),
        (["list", "parallelisms"], "single"),
        (["list", "wrappers"], "time_limit"),
        (["list", "presets"], "atari"),
        (["list", "envs"], "CartPole-v1"),
        (["list", "benches"], "core"),
        (
            ["list", "losses"],
            "advantage group/batch; ratio none; token_mean",
        ),
        (["list", "losses"], "clip 0.2, 0.28, dual 10"),
        (["list", "schemas"], "</guideline> <step>"),
        (["env", "list", "Cart"], "CartPole-v1"),
        (["explain"], "checkpoint"),
        (["explain", "stop.wall_time", "agent.a3c"], "Mnih"),
        (["schema"], '"$schema"'),
    ],
)
def test_lists(words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert wanted in capsys.readouterr().out


def test_an_unknown_list_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "agent"]) == 2
    assert "did you mean 'agents'?" in capsys.readouterr().err


def test_files_and_overrides_are_told_apart(folder: Path) -> None:
    (folder / "a=b.yaml").touch()
    words = ["small.yaml", "seed=1", "a=b.yaml", "stop~", "x.yaml", "1=2"]
    assert split_arguments(words) == (
        ["small.yaml", "a=b.yaml", "x.yaml"],
        ["seed=1", "stop~", "1=2"],
    )


def test_checkpoint_selectors() -> None:
    for text, wanted in (("latest", "latest"), ("best", "best"), ("step=1_000", "step=1000")):
        assert checkpoint_selector(text) == wanted
    with pytest.raises(ConfigError, match="latest, best or step=N"):
        checkpoint_selector("step=")


def test_text_helpers() -> None:
    assert [cell(v) for v in (None, True, 1234567, 2.0, 0.123456, "x")] == [
        "-", "yes", "1,234,567", "2", "0.1235", "x",
    ]  # fmt: skip
    assert table(("a", "n"), [["x", 1], ["yy", 10]]) == "a    n\nx    1\nyy  10"
    assert jsonable({"a": [float("nan"), (1, float("inf"))]}) == {"a": [None, [1, None]]}
