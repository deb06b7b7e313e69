"""``rlcore run`` and ``rlcore validate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlcore import __version__
from rlcore.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from experiments.runs import Run
    from experiments.validate import ResolvedConfig

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE|KEY=VALUE",
        help="Experiment files, merged left to right, and settings laid over them: KEY=VALUE, "
        "KEY= (null), KEY~ (remove).",
        show_default=False,
    ),
]


class Progress(StrEnum):
    """How progress is shown."""

    auto = "auto"
    plain = "plain"
    none = "none"


class Tracking(StrEnum):
    """Where Weights & Biases logs to."""

    auto = "auto"
    offline = "offline"
    online = "online"
    off = "off"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("run")(run)
    app.command("validate")(validate)


def run(
    arguments: Arguments = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run where its newest checkpoint is."),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="With --name: add to the name if that folder exists.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the run folder.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    seed: Annotated[int | None, typer.Option(help="The same as seed=N.")] = None,
    progress: Annotated[
        Progress | None, typer.Option(help="How progress is shown; default: track.console.")
    ] = None,
    tracking: Annotated[
        Tracking | None, typer.Option(help="Mode of Weights & Biases; default: track.wandb.")
    ] = None,
    allow_change: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="With --resume: let this setting change."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved settings and exit.")
    ] = False,
) -> None:
    """Train as the files say, or go on with a run."""
    files, overrides = split_arguments(arguments or [])
    overrides += [] if seed is None else [f"seed={seed}"]
    console = progress.value if progress else None
    wandb = tracking.value if tracking else None
    if resume is not None:
        _only_overrides(files, name, new)
        if dry_run:
            return _print_resolved([_resolved_file(resume)], overrides)
        typer.echo(f"rlcore {__version__}: resuming {resume}", err=True)
        from experiments.runner import resume as go_on

        options: dict[str, Any] = {"allow_change": allow_change or [], "console": console}
        return _closing_words(go_on(resume, overrides, wandb=wandb, **options))
    if not files:
        raise ConfigError("nothing to run: give an experiment file, or --resume RUN")
    if allow_change:
        raise ConfigError("--allow-change goes with --resume only")
    if dry_run:
        return _print_resolved(files, overrides)
    typer.echo(f"rlcore {__version__}: {' '.join([*files, *overrides])}", err=True)
    from experiments.runner import run as train

    source: str | list[str] = files[0] if len(files) == 1 else files
    trained = train(source, overrides, name=name, out=out, console=console, wandb=wandb, new=new)
    return _closing_words(trained)


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files and the overrides among the arguments, each in order."""
    from experiments.overrides import is_override

    files: list[str] = []
    overrides: list[str] = []
    for text in arguments:
        looks_like_one = is_override(text) or "=" in text
        target = overrides if looks_like_one and not Path(text).exists() else files
        target.append(text)
    return files, overrides


def _only_overrides(files: list[str], name: str | None, new: bool) -> None:
    if files:
        raise ConfigError(
            f"--resume takes the settings of the run itself; got the file {files[0]!r}. Changes "
            "are given as KEY=VALUE"
        )
    if name is not None or new:
        raise ConfigError("--resume goes on in the run's folder: --name and --new do not apply")


def _resolved_file(selector: str) -> str:
    from experiments.runs import CONFIG_FILE, resolve_run

    return str(resolve_run(selector).path / CONFIG_FILE)


def _print_resolved(files: list[str], overrides: list[str]) -> None:
    typer.echo(_load(files, overrides).text, nl=False)


def _load(files: list[str], overrides: list[str], try_out: bool = False) -> ResolvedConfig:
    from experiments.validate import load_config

    return load_config(files, overrides, try_out=try_out)


def _closing_words(run: Run) -> None:
    """Print what was reached and where everything is."""
    from experiments.cli_text import folder_text, pairs

    where = folder_text(run.path)
    lines = {"run": where, "state": f"{run.state}: {run.status.get('reason') or '-'}"}
    evaluations = run.evaluations()
    losses = [record["eval/loss"] for record in run.metrics() if "eval/loss" in record]
    if losses:
        lines["held-out loss"] = f"{losses[-1]:.4f} (lowest {min(losses):.4f})"
    if evaluations and "eval/return_mean" in evaluations[-1]:
        newest = evaluations[-1]
        lines["return"] = (
            f"{newest['eval/return_mean']:.2f} (95% interval {newest['eval/ci_low']:.2f} to "
            f"{newest['eval/ci_high']:.2f}, {len(newest['episodes'])} evaluation episodes)"
        )
        lines["evaluation"] = str(Path(where) / "eval" / newest["file"])
    report = Path(where) / "report.html"
    lines["report"] = str(report) if report.exists() else f"rlcore report {where}"
    typer.echo(pairs(lines))


def validate(
    arguments: Arguments = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Also make one environment and network; find the device and the data."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings and list everything that is wrong; nothing is started."""
    files, overrides = split_arguments(arguments or [])
    try:
        if not files:
            raise ConfigError("nothing to validate: give an experiment file")
        resolved = _load(files, overrides, try_out=strict)
        if strict:
            build_on_meta(resolved)
    except (ConfigError, MissingDependencyError) as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"valid": False, "problems": problems_of(error)}, indent=1))
        code = 3 if isinstance(error, MissingDependencyError) else 2
        raise typer.Exit(code) from None
    if as_json:
        typer.echo(json.dumps({"valid": True, "hash": resolved.hash, "config": resolved.tree}))
    else:
        typer.echo(f"{', '.join(files)}: valid (hash {resolved.hash})")


def problems_of(error: Exception) -> list[dict[str, Any]]:
    """Return each problem of an error as JSON-able values."""
    from experiments.sources import dotted

    found = []
    for problem in getattr(error, "problems", []):
        place = problem.place
        entry = {"key": dotted(problem.path), "message": problem.message}
        if place is not None:
            entry |= {"source": place.source.label, "line": place.line, "column": place.column}
        found.append(entry)
    return found or [{"key": "", "message": str(error)}]


def build_on_meta(resolved: ResolvedConfig) -> None:
    """Make one stream of environments, the agent, and the network without memory for weights.

    Raises:
        RlcoreError: One of them cannot be made.
    """
    import torch

    from experiments.build import ExperimentParts
    from experiments.planning import streams_of

    parts = ExperimentParts(resolved.config, streams_of(resolved.config))
    with torch.device("meta"):
        parts.agent.build_network()
