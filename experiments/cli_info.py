"""Commands that tell: ``list``, ``explain``, ``schema``, ``doctor``, ``bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_text import jsonable
from rlcore.errors import ConfigError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
COMPONENTS = {
    "agents": "agent",
    "estimators": "estimator",
    "optimizers": "optimizer",
    "parallelisms": "parallelism",
}
KINDS = (*COMPONENTS, "envs", "presets", "wrappers", "benches", "losses", "schemas")


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_kind)
    for command in (explain, schema, doctor, bench):
        app.command(command.__name__)(command)


def list_kind(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS), metavar="KIND")],
    as_json: JsonOption = False,
) -> None:
    """List what a setting may name: agents, optimizers, envs, ..."""
    found = names_of(kind)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        width = max(map(len, found), default=0)
        lines = [f"{name:<{width}}  {text}".rstrip() for name, text in found.items()]
        typer.echo("\n".join(lines))


def names_of(kind: str) -> dict[str, str]:
    """Return the names of one kind, each with a line that says what it is.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind in COMPONENTS:
        from experiments.explain import summary
        from experiments.registry import components, find

        of_kind = COMPONENTS[kind]
        return {name: summary(find(of_kind, name)) for name in components(of_kind)}
    if kind == "envs":
        from experiments.env_check import env_rows

        return {row["id"]: row["summary"] for row in env_rows()}
    if kind == "presets":
        from envs.presets import PRESETS

        return {name: (cls.__doc__ or "").split("\n")[0] for name, cls in PRESETS.items()}
    if kind == "wrappers":
        from envs.wrappers import WRAPPER_TYPES

        return dict.fromkeys(WRAPPER_TYPES, "")
    if kind == "benches":
        from experiments.bench.suite import BENCHES

        return {name: (call.__doc__ or "").split("\n")[0] for name, call in BENCHES.items()}
    if kind == "losses":
        from rlcore.ops.policy_loss import PRESETS as LOSSES

        return {name: preset.summary() for name, preset in LOSSES.items()}
    if kind == "schemas":
        from rlcore.inference.parallel.schema import SCHEMAS

        return {name: " ".join(tags.tags) for name, tags in SCHEMAS.items()}
    from experiments.errors import nearest

    raise ConfigError(f"no kind {kind!r}{nearest(kind, KINDS)}; there are: {', '.join(KINDS)}")


def explain(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY...", help="For example agent.impala.gamma", show_default=False),
    ] = None,
) -> None:
    """Say what settings mean, with type and default; without a key, list the sections."""
    from experiments.explain import explain as text_of
    from experiments.explain import overview

    typer.echo("\n\n".join(text_of(key) for key in keys) if keys else overview())


def schema(
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
) -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from experiments.json_schema import schema_text

    if out is None:
        typer.echo(schema_text(), nl=False)
    else:
        out.write_text(schema_text(), encoding="utf-8")
        typer.echo(str(out))


def doctor(
    runs: Annotated[Path, typer.Option(help="Folder to check for write access.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Tell versions, devices, threads, memory and access; paste it into bug reports."""
    from experiments.doctor import render, report

    sections = report(runs)
    typer.echo(json.dumps(jsonable(sections), default=str) if as_json else render(sections))


def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark; see `rlcore list benches`.")],
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    repeats: Annotated[int, typer.Option(help="Pairs of samples a row.", min=1)] = 5,
    only: Annotated[str, typer.Option(help="Only rows whose key holds this text.")] = "",
) -> None:
    """Measure against peers, interleaved; print ratios with their spread."""
    from experiments.bench.suite import run_bench

    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
    run_bench(name, json_path=json_path, repeats=repeats, only=only)
