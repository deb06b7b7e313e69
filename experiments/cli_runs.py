"""Commands on runs: ``eval play export plot report ls show diff rm``."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from experiments.cli_text import cell, folder_text, jsonable, pairs, table
from experiments.storage_errors import naming
from rlcore.errors import ConfigError

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, or runs/latest.")]
RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders.")]
StepOption = Annotated[
    str, typer.Option(help="Which checkpoint: latest, best or step=N.", metavar="STEP")
]
GreedyOption = Annotated[
    bool,
    typer.Option("--deterministic/--stochastic", help="Take the most likely action, or sample."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VIDEO_TYPES = (".mp4", ".gif")


class _VideoCommand(TyperCommand):
    """Lets ``--video`` stand without a file name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = []
        for word, after in zip(args, [*args[1:], ""], strict=True):
            named = after.endswith(VIDEO_TYPES) and not after.startswith("-")
            words.append("--video=" if word == "--video" and not named else word)
        return super().parse_args(ctx, words)


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval")(evaluate)
    app.command("play", cls=_VideoCommand)(play)
    for command in (export, plot, report, ls, show, diff, rm):
        app.command(command.__name__)(command)


def evaluate(
    run: RunArgument,
    episodes: Annotated[int, typer.Option(help="Whole episodes to play.", min=1)] = 100,
    deterministic: GreedyOption = True,
    step: StepOption = "latest",
    seed: Annotated[int | None, typer.Option(help="Root seed; default: the run's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a checkpoint on fresh, separately seeded environments, or on held-out data."""
    selector = checkpoint_selector(step)
    if not as_json:
        typer.echo(f"evaluating {run} ({step})", err=True)
    from experiments.evaluate import evaluate_run

    result = evaluate_run(
        run, episodes=episodes, deterministic=deterministic, selector=selector, seed=seed
    )
    if as_json:
        typer.echo(json.dumps(jsonable(result)))
        return
    names = [name for name in result if name.startswith(("step/", "eval/"))]
    lines = {name: result[name] for name in names}
    typer.echo(pairs(lines | {"file": folder_text(Path(result["file"]))}))


def checkpoint_selector(step: str) -> str:
    """Return the selector that ``--step`` means; a bare number is ``step=N``.

    Raises:
        ConfigError: It is neither latest, best nor a step.
    """
    if step in ("latest", "best"):
        return step
    number = step.removeprefix("step=").replace("_", "")
    if not number.isdecimal():
        raise ConfigError(f"--step must be latest, best or step=N, got {step!r}")
    return f"step={int(number)}"


def play(
    run: RunArgument,
    video: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE]", help="Where the video goes (.mp4, .gif); default: the run's videos/."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Whole episodes to play.", min=1)] = 1,
    deterministic: GreedyOption = True,
    step: StepOption = "latest",
    seed: Annotated[int | None, typer.Option(help="Root seed; default: the run's.")] = None,
) -> None:
    """Play with a checkpoint's policy and record it."""
    selector = checkpoint_selector(step)
    typer.echo(f"playing {run} ({step}), {episodes} episode(s)", err=True)
    from experiments.play import play_run

    played = play_run(
        run,
        video=video or None,
        selector=selector,
        episodes=episodes,
        deterministic=deterministic,
        seed=seed,
        note=lambda text: typer.echo(text, err=True),
    )
    returns = ", ".join(cell(value) for value in played["return"])
    lines = {"return": returns, "frames": played["frames"]}
    typer.echo(pairs(lines | {"video": folder_text(Path(played["video"]))}))


class Dtype(StrEnum):
    """Type of stored weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Model folder, to be made.")],
    step: StepOption = "latest",
    dtype: Annotated[Dtype, typer.Option(help="Of the stored weights.")] = Dtype.float32,
) -> None:
    """Write a language model as a Hugging Face folder, for rlcore generate and others."""
    from experiments.export import export_run

    selector = checkpoint_selector(step)
    with naming(out):
        written = export_run(run, out, selector=selector, dtype=dtype.value)
    typer.echo(folder_text(written))


def plot(
    runs: RunsArgument,
    x: Annotated[str, typer.Option(help="Axis: env_steps, frames, updates or wall.")] = "env_steps",
    out: Annotated[Path | None, typer.Option(help="Picture: .png, .svg or .pdf.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="What to draw; default: the return, or the held-out loss.")
    ] = None,
) -> None:
    """Draw learning curves; the numbers go to a CSV file beside the picture."""
    from experiments.plotting import plot_runs

    typer.echo(folder_text(plot_runs(runs, x=x, out=out, metric=metric)))


def report(runs: RunsArgument) -> None:
    """Write report.html into a run folder: one file, readable without a server."""
    from experiments.report_html import write_report

    for run in runs:
        typer.echo(folder_text(write_report(run)))


def ls(
    folder: Annotated[Path, typer.Argument(help="Folder of run folders.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """List runs, oldest first."""
    from experiments.runs import list_runs, show_run

    found = [show_run(run) for run in list_runs(folder)]
    if as_json:
        typer.echo(json.dumps(jsonable(found)))
    elif not found:
        typer.echo(f"no runs in {folder}")
    else:
        head = ("name", "state", "agent", "env", "seed", "env_steps", "return_mean")
        if any(one["held_out_loss"] is not None for one in found):
            head = (*head, "held_out_loss")
        typer.echo(table(head, [[one[key] for key in head] for one in found]))


def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show state, progress and scores of a run."""
    from experiments.runs import show_run

    shown = show_run(run)
    if as_json:
        typer.echo(json.dumps(jsonable(shown)))
        return
    metrics = shown.pop("metrics")
    evaluation = shown.pop("eval") or {}
    lists = {key: ", ".join(map(str, v)) or None for key, v in shown.items() if isinstance(v, list)}
    typer.echo(pairs(shown | lists | evaluation))
    typer.echo("\n" + pairs(metrics))


def diff(a: RunArgument, b: RunArgument, as_json: JsonOption = False) -> None:
    """Compare settings and final metrics of two runs."""
    from experiments.runs import diff_runs

    found = diff_runs(a, b)
    if as_json:
        typer.echo(json.dumps(jsonable({"config": found.config, "metrics": found.metrics})))
        return
    for title, values in (("setting", found.config), ("metric", found.metrics)):
        rows = [[name, *pair] for name, pair in values.items()]
        typer.echo(table((title, a, b), rows) if rows else f"no {title} differs")
        typer.echo()


def rm(
    runs: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete run folders. Runs that are still going are refused."""
    from experiments.runs import remove_run, resolve_run

    found = [resolve_run(run) for run in runs]
    names = ", ".join(folder_text(run.path) for run in found)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"nothing deleted: add --yes to delete {names}")
        typer.confirm(f"Delete {names}?", abort=True)
    for run in found:
        typer.echo(f"deleted {folder_text(remove_run(run))}")
