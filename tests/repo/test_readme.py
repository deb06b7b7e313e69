"""What the README and the guide tell people to type works as written."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "docs/index.md", "docs/benchmarks.md",
    "docs/how-to/custom-env.md", "docs/how-to/custom-agent.md", "docs/how-to/resume.md",
    "docs/how-to/language-models.md", "docs/how-to/generate.md", "docs/how-to/serve.md",
)  # fmt: skip
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def blocks(path: Path, language: str) -> list[str]:
    """Return the fenced code blocks of one language."""
    return [body for kind, body in _BLOCK.findall(path.read_text()) if kind == language]


def commands(root: Path) -> list[tuple[str, list[str]]]:
    """Return (document, words) of each command line in the documents."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(root / document, "bash"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                    words.pop(0)
                if words:
                    found.append((document, words))
    return found


def test_every_command_is_a_known_one(repo_root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repo_root / "Makefile").read_text(), re.MULTILINE))
    found = commands(repo_root)
    assert len(found) > 10
    for document, words in found:
        program = words[0].removeprefix(".venv/bin/")
        if program == "make":
            assert set(words[1:]) <= targets, f"{document}: {words}"
        else:
            assert program == "rlcore", f"{document}: {words}"


def test_rlcore_takes_every_command_as_written(repo_root: Path) -> None:
    problems = []
    for document, words in commands(repo_root):
        if not words[0].endswith("rlcore"):
            continue
        problem = parse_problem(words[1:])
        if problem:
            problems.append(f"{document}: rlcore {shlex.join(words[1:])}: {problem}")
    assert not problems, "\n".join(problems)


def parse_problem(arguments: list[str]) -> str | None:
    """Parse a command line with every command replaced by one that does nothing."""
    from typer.testing import CliRunner

    from experiments.cli import app

    with pytest.MonkeyPatch.context() as patch:
        silence(app, patch)
        result = CliRunner().invoke(app, arguments)
    return None if result.exit_code == 0 else result.output


def silence(app: Any, patch: pytest.MonkeyPatch) -> None:
    """Replace the callbacks of all commands, keeping their parameters."""
    for command in app.registered_commands:
        patch.setattr(command, "callback", do_nothing(command.callback))
    for group in app.registered_groups:
        silence(group.typer_instance, patch)


def do_nothing(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the parameters of ``callback`` and no body."""

    @functools.wraps(callback)
    def nothing(*_: Any, **__: Any) -> None:
        return None

    return nothing


def test_a_wrong_command_is_found() -> None:
    assert parse_problem(["run", "x.yaml", "--no-such-option"])
    assert parse_problem(["no-such-command"])
    assert parse_problem(["run", "x.yaml", "seed=1"]) is None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_experiment_files_shown_are_valid(repo_root: Path, document: str, tmp_path: Path) -> None:
    from experiments.validate import load_config

    for number, block in enumerate(blocks(repo_root / document, "yaml")):
        if block.startswith("rlcore: 1"):
            file = tmp_path / f"{number}.yaml"
            file.write_text(block)
            load_config(file)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_shown_compiles(repo_root: Path, document: str) -> None:
    for block in blocks(repo_root / document, "python"):
        compile(block, document, "exec")


@pytest.mark.parametrize("document", ["README.md", "docs/index.md"])
def test_the_python_shown_runs(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    import experiments

    train = experiments.run

    def shortly(config: str, overrides: list[str]) -> Any:
        limits = ["stop.env_steps=4000", "eval.episodes=2", "track.wandb=off"]
        return train(config, [*overrides, *limits])

    monkeypatch.setattr(experiments, "run", shortly)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(repo_root / "experiments")
    first = next(b for b in blocks(repo_root / document, "yaml") if b.startswith("rlcore: 1"))
    (tmp_path / "first.yaml").write_text(first)
    (code,) = blocks(repo_root / document, "python")
    shown: list[tuple[Any, ...]] = []
    exec(code, {"print": lambda *words: shown.append(words)})
    ((path, (steps, episode_return)), (evaluation,)) = shown
    assert Path(path).is_relative_to(tmp_path / "runs")
    assert steps >= 4000
    assert episode_return > 5
    assert evaluation > 5


def test_the_environment_shown_keeps_the_contract(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    source = blocks(repo_root / "docs/how-to/custom-env.md", "python")[0]
    (tmp_path / "my_envs.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("my_envs")
    try:
        env = gymnasium.make("Corridor-v0", length=10)
        check_env(env.unwrapped, skip_render_check=True)
        env.close()
    finally:
        gymnasium.registry.pop("Corridor-v0")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(repo_root: Path, document: str) -> None:
    for target, _ in _LINK.findall((repo_root / document).read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (repo_root / target).exists(), f"{document}: {target}"


def rlcore(*arguments: str, cwd: Path) -> str:
    """Run the command line in ``cwd`` and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"rlcore {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_steps_of_the_readme_run(repo_root: Path, tmp_path: Path) -> None:
    demo = str(repo_root / "experiments/configs/demo.yaml")
    rlcore("doctor", cwd=tmp_path)
    rlcore("validate", demo, cwd=tmp_path)
    rlcore("run", demo, "stop.env_steps=4000", "stop.return=", "eval.episodes=2", cwd=tmp_path)
    printed = rlcore("play", "runs/latest", "--video", cwd=tmp_path)
    printed += rlcore("plot", "runs/latest", cwd=tmp_path)
    printed += rlcore("report", "runs/latest", cwd=tmp_path)
    run = (tmp_path / "runs/latest").resolve()
    for pattern in ("videos/*.mp4", "*.png", "report.html"):
        files = list(run.rglob(pattern))
        assert files, f"no {pattern} in {run}"
        assert files[0].stat().st_size > 1000
        assert files[0].name in printed
