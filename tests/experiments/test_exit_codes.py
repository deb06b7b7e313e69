"""Exit codes of real command lines: 0 done, 1 failed, 2 settings, 3 package, 4 checkpoint."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import cli

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
RAISES = "env={id: testing/faulty-v0, module: envs, num_envs: 4, kwargs: {fault: raise, times: 0}}"
LOCAL = "runtime={placement: local, schedule: async, actors: 1, max_restarts: 0}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(FILE)
    return tmp_path


def rlcore(root: Path, *words: str, limit: int | None = None) -> tuple[int, str]:
    """Run a command line, with a limit on the size of files if wanted; return code and stderr."""
    path = f"{root}:{os.environ.get('PYTHONPATH', '')}"

    def small_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *words],
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stderr


def last_line(text: str) -> str:
    assert "Traceback" not in text, text
    return text.splitlines()[-1]


def test_done_is_0(folder: Path, repo_root: Path) -> None:
    assert rlcore(repo_root, "run", "small.yaml")[0] == 0
    assert rlcore(repo_root, "show", "runs/latest") == (0, "")


def test_a_run_that_fails_is_1(folder: Path, repo_root: Path) -> None:
    code, err = rlcore(repo_root, "run", "small.yaml", "--name", "one", RAISES, LOCAL)
    assert code == 1
    assert "1 x  actor 0: RuntimeError: fault on demand in step 1" in last_line(err)
    assert Path("runs/one/STATUS.json").exists()


def test_settings_and_usage_are_2(folder: Path, repo_root: Path) -> None:
    for words in (["run", "small.yaml", "agent.gama=1"], ["run"], ["run", "nope.yaml"], ["nope"],
                  ["run", "--resume", "runs/nope"]):  # fmt: skip
        code, err = rlcore(repo_root, *words)
        assert code == 2, words
        last_line(err)
    assert not Path("runs").exists()


def test_a_missing_package_is_3(folder: Path, repo_root: Path) -> None:
    (folder / "ale_py.py").write_text("raise ImportError('hidden')\n")
    code, err = rlcore(Path(f"{folder}:{repo_root}"), "run", "small.yaml", "env.id=ALE/Pong-v5")
    assert code == 3
    assert "rlcore[atari]" in last_line(err)


def test_no_usable_checkpoint_is_4(folder: Path, repo_root: Path) -> None:
    assert cli.main(["run", "small.yaml", "--name", "one"]) == 0
    (saved,) = Path("runs/one/checkpoints").glob("step-*")
    (saved / "MANIFEST.json").unlink()
    for words in (["run", "--resume", "runs/one"], ["eval", "runs/one"], ["play", "runs/one"]):
        code, err = rlcore(repo_root, *words)
        assert code == 4, words
        assert "MANIFEST.json is missing" in last_line(err)


# -- places that cannot be written ----------------------------------------------------------------


def test_a_disk_without_room_for_a_run_is_1(folder: Path, repo_root: Path) -> None:
    code, err = rlcore(repo_root, "run", "small.yaml", "--name", "one", limit=100)
    assert code == 1
    assert last_line(err) == (
        f"error: the run folder {folder}/runs/one cannot be written: File too large; choose "
        "another place with --out"
    )
    assert not Path("runs/one").exists()


@pytest.mark.parametrize(
    "words", [["report", "runs/one"], ["plot", "runs/one"], ["eval", "runs/one", "--episodes=1"],
              ["schema", "--out", "schema.json"], ["play", "runs/one", "--video"],
              ["run", "--resume", "runs/one", "stop.updates=5"]]
)  # fmt: skip
def test_a_file_that_does_not_fit_is_1_and_one_line(
    folder: Path, repo_root: Path, words: list[str]
) -> None:
    assert cli.main(["run", "small.yaml", "--name", "one"]) == 0
    code, err = rlcore(repo_root, *words, limit=50)
    assert code == 1
    assert last_line(err).startswith("error: "), err
    assert "File too large" in last_line(err), err


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$2" || exit 99
shift 2
"$@"
code=$?
[ $code -ne 99 ] || code=98
exit $code
"""


def on_read_only(folder: Path, root: Path, *words: str) -> tuple[int, str]:
    """Run a command line where ``runs`` is mounted read-only."""
    command = [sys.executable, "-m", "experiments.cli", *words]
    done = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            READ_ONLY,
            "sh",
            str(folder / "runs"),
            str(folder),
            *command,
        ],
        env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode != 99, done.stderr
    return done.returncode, done.stderr


def test_a_read_only_folder_is_1_and_one_line(folder: Path, repo_root: Path) -> None:
    assert cli.main(["run", "small.yaml", "--name", "one"]) == 0
    probe = ["unshare", "-rm", "mount", "--bind", str(folder), str(folder)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("needs user and mount namespaces (unshare -rm) to mount a read-only folder")
    saved = sorted(Path("runs/one/checkpoints").rglob("*"))
    for words in (["run", "small.yaml"], ["run", "--resume", "runs/one", "stop.updates=5"],
                  ["eval", "runs/one", "--episodes=1"], ["play", "runs/one", "--video"],
                  ["plot", "runs/one"], ["report", "runs/one"], ["rm", "runs/one", "--yes"],
                  ["schema", "--out", "runs/schema.json"]):  # fmt: skip
        code, err = on_read_only(folder, repo_root, *words)
        assert code == 1, (words, err)
        assert last_line(err).startswith("error: "), err
        assert "Read-only file system" in last_line(err), err
        assert ("--out" in last_line(err)) == (words[:2] == ["run", "small.yaml"]), err
    for words in (["ls"], ["show", "runs/one"], ["validate", "small.yaml"]):
        assert on_read_only(folder, repo_root, *words) == (0, ""), words
    assert sorted(Path("runs/one/checkpoints").rglob("*")) == saved
    assert cli.main(["eval", "runs/one", "--episodes", "1"]) == 0


def test_other_system_errors_are_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(cli, "_invoke", fail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.main(["ls"])


def test_a_full_disk_is_told_of_with_the_folder_that_was_to_be_made(
    folder: Path, repo_root: Path
) -> None:
    (folder / "input.txt").write_text("to be or not to be\n" * 500)
    words = ("data", "tokenize", "input.txt", "--out", "tokens")
    code, err = rlcore(repo_root, *words, limit=1000)
    assert (code, last_line(err)) == (cli.FAILED, "error: tokens: File too large")
    assert rlcore(repo_root, *words) == (0, ""), "what a failed command leaves is no hindrance"


def test_a_standard_output_that_is_full_is_told_of_once(folder: Path, repo_root: Path) -> None:
    path = f"{repo_root}:{os.environ.get('PYTHONPATH', '')}"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli", "list", "agents"],
            env={**os.environ, "PYTHONPATH": path},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
    assert (done.returncode, done.stderr) == (cli.FAILED, "error: No space left on device\n")
