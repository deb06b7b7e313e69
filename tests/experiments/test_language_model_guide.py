"""The commands of the guide to language models, typed one after the other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.runs import resolve_run

GUIDE = "docs/how-to/language-models.md"
TEXT = "ROMEO:\nWhat light through yonder window breaks?\n\nJULIET:\nAy me!\n\n" * 60
SHORT = ["stop.updates=3", "eval.every=2", "eval.samples=1", "eval.sample_tokens=4",
         "track.wandb=off", "track.tensorboard=false", "track.console=none"]  # fmt: skip


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_guide_works(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(repo_root / "experiments")
    guide = (repo_root / GUIDE).read_text()
    Path("input.txt").write_text(TEXT)
    pairs = [{"prompt": f"{n}+1=", "response": str(n + 1)} for n in range(200)]
    Path("answers.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    named = {re.search(r"^name: (\S+)", text, re.MULTILINE)[1]: text
             for text in blocks(guide, "yaml")}  # fmt: skip
    Path("answers.yaml").write_text(named["answers"])

    lines = [line for block in blocks(guide, "bash") for line in block.splitlines() if line]
    assert len(lines) >= 9
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "rlcore"
        if words[0] == "run":
            words += SHORT
        words = ["300" if word == "20_000" else word for word in words]
        capsys.readouterr()
        assert main(words) == 0, f"{line}: {capsys.readouterr().err}"
        if words[0] == "run":
            run = resolve_run("runs/latest")
            assert run.metrics()[-1]["step/update"] == 3
            assert len((run.path / "samples.jsonl").read_text().splitlines()) >= 2
    assert (tmp_path / "models/shakespeare/model.safetensors").exists()
