"""Every broken file of ``broken_yaml/`` gives exactly the message beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.validate import load_config
from rlcore.errors import ConfigError

FOLDER = Path(__file__).parent / "broken_yaml"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_many_and_each_has_its_message() -> None:
    assert len(FILES) >= 40
    assert {file.stem for file in FILES} == {file.stem for file in FOLDER.glob("*.txt")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_message(file: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo_root)
    with pytest.raises(ConfigError) as caught:
        load_config(file.relative_to(repo_root))
    assert f"{caught.value}\n" == file.with_suffix(".txt").read_text(encoding="utf-8")
