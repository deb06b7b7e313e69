"""The record of the code: commit and changes without secrets, and what if there is no git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import experiments.git_record as module
from experiments.git_record import git_record


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "my prögram"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "config", "user.email", "a@b.c")
    git(folder, "config", "user.name", "a")
    (folder / "code.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("private/\n*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_tree(repository: Path) -> None:
    record = git_record(repository)
    head = (repository / ".git/refs/heads/trunk").read_text().strip()
    assert record.values["commit"] == head
    assert record.values["branch"] == "trunk"
    assert record.values["dirty"] is False
    assert record.diff == ""


def test_changes_are_recorded_and_untracked_files_named(repository: Path) -> None:
    (repository / "code.py").write_text("x = 2\n")
    (repository / "new file.py").write_text("never copied\n")
    (repository / "noise.log").write_text("")
    (repository / "below").mkdir()
    record = git_record(repository / "below")
    assert record.values["dirty"] is True
    assert record.values["changed_files"] == ["code.py"]
    assert record.values["untracked_files"] == ["new file.py"]
    assert "-x = 1\n+x = 2\n" in record.diff
    assert "never copied" not in record.diff


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "deploy/server.pem",
        "id_rsa",
        "conf/my_secret.yaml",
        "API_KEY.txt",
        ".netrc",
        "credentials.json",
        "private/notes.txt",
        ":odd.log",
    ],
)
def test_secret_and_ignored_files_stay_out(repository: Path, name: str) -> None:
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("old\n")
    git(repository, "add", "-f", "./" + name)
    git(repository, "commit", "-q", "-m", "second")
    path.write_text("canary\n")
    (repository / "code.py").write_text("x = 2\n")
    record = git_record(repository)
    assert record.values["left_out_of_diff"] == [name]
    assert "canary" not in record.diff
    assert "+x = 2" in record.diff


@pytest.mark.parametrize(
    "secret",  # put together here, so that scanners do not take them for real ones
    [
        "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345",
        "hf_" + "abcdefghijklmnopqrstuvwxyz",
        "01234567" * 5,
        "AKIA" + "ABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_key_is_replaced(repository: Path, secret: str) -> None:
    (repository / "code.py").write_text(f'login(key="{secret}")\n')
    diff = git_record(repository).diff
    assert secret not in diff
    assert '+login(key="[redacted]")' in diff


def test_private_keys_are_replaced_even_without_an_end(repository: Path) -> None:
    (repository / "code.py").write_text(f"-----BEGIN RSA {'PRIVATE'} KEY-----\nMIIEcanary\n")
    assert "canary" not in git_record(repository).diff


def test_the_diff_is_cut_at_its_cap(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIFF_BYTES", 1000)
    (repository / "code.py").write_text("y = 1\n" * 10_000)
    record = git_record(repository)
    assert len(record.diff) == 1000
    assert record.values["diff_cut"] is True


def test_a_repository_without_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "x").write_text("")
    values = git_record(tmp_path).values
    assert (values["repository"], values["commit"], values["branch"]) == (True, None, "trunk")
    assert values["untracked_files"] == ["x"]


def test_no_repository(tmp_path: Path) -> None:
    assert git_record(tmp_path).values == {"repository": False}
    assert git_record(tmp_path / "missing").values == {"repository": False}


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    values = git_record(tmp_path).values
    assert values["repository"] is False
    assert "git" in values["reason"]


def test_programs_named_in_the_repositorys_settings_are_not_run(repository: Path) -> None:
    script = repository.parent / "evil"
    script.write_text(f"#!/bin/sh\ntouch '{repository.parent}/ran'\n")
    script.chmod(0o755)
    for setting in ("core.fsmonitor", "diff.external", "core.pager"):
        git(repository, "config", setting, str(script))
    (repository / "code.py").write_text("x = 2\n")
    assert "+x = 2" in git_record(repository).diff
    assert not (repository.parent / "ran").exists()
