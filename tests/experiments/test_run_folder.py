"""The run folder: its name, its records, its status, and clear refusals."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.run_folder import FOLDERS, MAX_SLUG_BYTES, RunFolder, folder_name, slug
from experiments.runs import Run, list_runs, resolve_run
from rlcore.errors import RunFolderError

CONFIG = "agent:\n  type: a3c\nseed: 3\n"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cartpole-a3c", "cartpole-a3c"),
        ("My run (2)", "My-run-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("/absolute", "absolute"),
        ("..", "run"),
        ("", "run"),
        ("a..b", "a-b"),
        ("v1.5_x", "v1.5_x"),
        (".hidden", "hidden"),
        ("über läuft", "über-läuft"),
        ("日本 語", "日本-語"),
        ("nul\0 new\nline\ttab", "nul-new-line-tab"),
        ("-rf --help", "rf-help"),
        ("a\\b:c*d?e", "a-b-c-d-e"),
        ("latest", "run-latest"),
        ("😀", "run"),
    ],
)
def test_slugs(name: str, wanted: str) -> None:
    assert slug(name) == wanted


@given(st.text(max_size=300))
def test_a_slug_is_one_short_plain_path_part_and_stays_itself(name: str) -> None:
    text = slug(name)
    assert Path(text).name == text
    assert 0 < len(text.encode()) <= MAX_SLUG_BYTES + 4
    assert not re.search(r"[\s/\\\0]|\.\.", text)
    assert text[0] not in ".-"
    assert slug(text) == text


def test_folder_names_say_when_what_and_which_seed() -> None:
    now = datetime(2026, 11, 23, 23, 59)
    names = {folder_name("pong a3c", 0, now) for _ in range(50)}
    assert all(re.fullmatch(r"2026-11-23_pong-a3c_s0_[a-z2-9]{4}", name) for name in names)
    assert len(names) > 45


def test_names_do_not_touch_the_global_generators(tmp_path: Path) -> None:
    import random

    import numpy as np

    random.seed(1)
    before = (random.getstate(), str(np.random.get_state()))
    RunFolder.create(tmp_path, "x", 0, CONFIG).close()
    assert (random.getstate(), str(np.random.get_state())) == before


def test_a_new_folder_holds_what_is_known_at_the_start(tmp_path: Path) -> None:
    root = tmp_path / "my rüns"
    with RunFolder.create(
        root,
        "pong a3c",
        3,
        CONFIG,
        source="agent: {type: a3c}\n",
        overrides=["seed=3", "agent.lr=1e-3"],
        command="rlcore run pong.yaml seed=3",
        facts={"environment": "ALE/Pong-v5", "odd": "a | b\nc"},
        threads={"actor": 1},
        deterministic=True,
    ) as folder:
        path = folder.path
        assert path.parent == root.resolve()
        assert folder.starts == 0
        assert all((path / name).is_dir() for name in FOLDERS)
        assert (path / "config.resolved.yaml").read_text() == CONFIG
        assert (path / "config.source.yaml").read_text() == "agent: {type: a3c}\n"
        assert (path / "overrides.txt").read_text() == "seed=3\nagent.lr=1e-3\n"
        run = Run(path)
        assert run.state == "starting"
        assert run.status["pid"] == os.getpid()
        assert run.environment["deterministic"] is True
        assert run.environment["threads"] == {"actor": 1}
        assert "repository" in run.git
        card = (path / "card.md").read_text()
        assert "| command | `rlcore run pong.yaml seed=3` |" in card
        assert "| odd | a \\| b c |" in card
        assert resolve_run(root / "latest").path == path
        assert [found.path.name for found in list_runs(root)] == [path.name]
    assert not [name for name in os.listdir(path) if name.startswith(".") and name != ".lock"]


def test_latest_names_the_newest_and_is_relative(tmp_path: Path) -> None:
    paths = []
    for _ in range(2):
        with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
            paths.append(folder.path)
        assert os.readlink(tmp_path / "latest") == folder.path.name
    with RunFolder.open(paths[0]):
        assert (tmp_path / "latest").resolve() == paths[0]
    assert sorted(os.listdir(tmp_path)) == sorted(["latest", *(p.name for p in paths)])


def test_a_folder_in_the_place_of_latest_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "latest").mkdir()
    RunFolder.create(tmp_path, "x", 0, CONFIG).close()
    assert (tmp_path / "latest").is_dir()
    assert "was not pointed to" in caplog.text


def test_an_existing_name_is_refused_with_advice(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "mine", 0, CONFIG, explicit=True).close()
    assert (tmp_path / "mine" / "STATUS.json").exists()
    before = (tmp_path / "mine" / "STATUS.json").read_bytes()
    with pytest.raises(RunFolderError, match=r"mine exists already.*--resume .*mine.*--new"):
        RunFolder.create(tmp_path, "mine", 0, CONFIG, explicit=True)
    assert (tmp_path / "mine" / "STATUS.json").read_bytes() == before
    with RunFolder.create(tmp_path, "mine", 7, CONFIG, explicit=True, new=True) as folder:
        assert re.fullmatch(r".*_mine_s7_[a-z2-9]{4}", folder.path.name)


def test_an_explicit_name_cannot_leave_the_root(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs", "../../x", 0, CONFIG, explicit=True) as folder:
        assert folder.path == (tmp_path / "runs" / "x").resolve()


def test_status_tells_state_step_and_reason(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
        run = Run(folder.path)
        assert folder.beat(120)
        assert (run.state, run.status["step"], run.status["reason"]) == ("running", 120, None)
        first = run.status
        assert folder.write_status("failed", reason="out of memory")
        assert (run.state, run.status["step"]) == ("failed", 120)
        assert run.status["reason"] == "out of memory"
        assert run.status["started"] == first["started"]
        assert run.status["beat"] >= first["beat"]


def test_readers_never_see_half_a_status(tmp_path: Path) -> None:
    import threading

    with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
        stop, seen = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                seen.append(json.loads((folder.path / "STATUS.json").read_text())["state"])

        reader = threading.Thread(target=read)
        reader.start()
        for step in range(300):
            folder.beat(step)
        stop.set()
        reader.join()
    assert set(seen) <= {"starting", "running"}
    assert seen


def test_opening_goes_on_with_the_status(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
        path = folder.path
        folder.write_status("interrupted", step=500, reason="SIGINT")
        started = Run(path).status["started"]
    shutil.rmtree(path / "videos")  # empty folders get lost when runs are copied
    for starts in (1, 2):
        with RunFolder.open(path) as folder:
            assert folder.starts == starts
            status = Run(path).status
            assert (status["state"], status["step"], status["reason"]) == ("starting", 500, None)
            assert status["started"] == started
            assert status["resumed"] >= started
            assert (path / "videos").is_dir()


def test_opening_survives_a_broken_status(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
        path = folder.path
    (path / "STATUS.json").write_text('{"state": ')
    with RunFolder.open(path) as folder:
        assert folder.starts == 1
    assert "cannot be read" in caplog.text


def test_only_run_folders_are_opened(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder: wanted one with STATUS"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunFolderError, match="is not a run folder"):
        RunFolder.open(tmp_path / "nothing")
    assert os.listdir(tmp_path) == []


def test_secrets_are_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-5f3a9c1d"
    monkeypatch.setenv("SOME_API_KEY", canary)
    monkeypatch.setenv("LD_PRELOAD", f"/lib/{canary}.so")
    with RunFolder.create(
        tmp_path,
        "x",
        0,
        f"note: {canary}\n",
        source=f"note: {canary}\n",
        overrides=[f"note={canary}"],
        command=f"rlcore run x.yaml note={canary}",
        facts={"note": canary},
    ) as folder:
        folder.write_status("failed", reason=f"cannot log in with {canary}")
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert len(files) >= 7
    assert [path.name for path in files if canary in path.read_text()] == []
    assert "[redacted]" in (folder.path / "overrides.txt").read_text()


def test_a_full_disk_while_creating_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(RunFolderError, match=r"cannot be written: File too large.*--out"):
            RunFolder.create(tmp_path, "x", 0, "a: 1\n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_status_that_cannot_be_written_does_not_stop_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunFolder.create(tmp_path, "x", 0, CONFIG) as folder:
        before = (folder.path / "STATUS.json").read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            assert not folder.beat(1)
            assert not folder.beat(2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (folder.path / "STATUS.json").read_bytes() == before
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert folder.beat(3)
        assert Run(folder.path).status["step"] == 3
        assert not list(folder.path.glob(".STATUS*"))


def test_a_file_in_the_place_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunFolderError, match=r"runs cannot be written: .*--out"):
        RunFolder.create(tmp_path / "runs", "x", 0, CONFIG)


def test_a_read_only_root(tmp_path: Path, repo_root: Path) -> None:
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("needs user and mount namespaces (unshare -rm) to mount a read-only folder")
    script = """
import sys
from experiments.run_folder import RunFolder
from rlcore.errors import RunFolderError
try:
    RunFolder.create(sys.argv[1], "x", 0, "a: 1")
except RunFolderError as error:
    print(error)
"""
    inside = 'mount -t tmpfs -o ro tmpfs "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside, "sh", str(tmp_path), sys.executable, script],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert re.search(r"cannot be written: Read-only file system; choose .*--out", done.stdout)


def test_importing_it_is_light(repo_root: Path) -> None:
    script = "import sys, experiments.run_folder; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=repo_root, check=True, timeout=30)
