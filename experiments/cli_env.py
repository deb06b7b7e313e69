"""The commands ``rlcore env list | check | bench | picture``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli_text import jsonable, table
from rlcore.errors import ConfigError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Gymnasium id.")]
KwargsOption = Annotated[
    str, typer.Option("--kwargs", help="The environment's arguments, as a JSON object.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the group ``env``."""
    env = typer.Typer(help="List, check, time and draw environments.", no_args_is_help=True,
                      rich_markup_mode=None, pretty_exceptions_enable=False)  # fmt: skip
    env.command("list")(env_list)
    env.command("check")(env_check)
    env.command("bench")(env_bench)
    env.command("picture")(env_picture)
    app.add_typer(env, name="env")


def env_list(
    prefix: Annotated[str, typer.Argument(help="Only ids that begin with this.")] = "",
    cost: Annotated[
        str, typer.Option(help="Only ours of this order of a step's time: us, ms or 100ms.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the environments that can be named in env.id; ours with family, cost and summary."""
    from experiments.env_check import env_rows

    found = env_rows(prefix, cost)
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [[row["id"], row["family"] or "", row["cost"] or "", row["summary"]] for row in found]
    typer.echo(table(("id", "family", "cost", "summary"), rows))


def env_check(
    id: IdArgument,
    module: Annotated[str | None, typer.Option(help="Imported first; registers it.")] = None,
    preset: Annotated[str | None, typer.Option(help="For example atari.")] = None,
    num_envs: Annotated[int, typer.Option(help="Environments of a stream.", min=1)] = 2,
    steps: Annotated[int, typer.Option(help="Steps of each trial.", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Of actions and environments.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Look for faults of an environment: contract, seeding, autoreset, state, speed."""
    from experiments.env_check import check_env

    found = check_env(id, num_envs=num_envs, steps=steps, seed=seed, module=module, preset=preset)
    if as_json:
        typer.echo(json.dumps(jsonable([asdict(one) for one in found])))
    else:
        rows = [[one.level, one.check, one.message] for one in found]
        typer.echo(table(("level", "check", "message"), rows))
    if any(one.level == "error" for one in found):
        raise typer.Exit(1)


def env_bench(
    id: IdArgument,
    num_envs: Annotated[
        int | None,
        typer.Option(help="Of the vector form; by default 1024, 64 or 4, by cost.", min=1),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of one sample of one form.", min=0.01)] = 1.0,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    kwargs: KwargsOption = "{}",
) -> None:
    """Time an environment: its vector form, its plain form and Gymnasium's loop, interleaved."""
    from experiments import env_bench as bench
    from experiments.bench.harness import machine

    result = bench.env_bench(
        id, num_envs=num_envs, seconds=seconds, kwargs=json_object(kwargs, "--kwargs")
    )
    loop = min(result["num_envs"], bench.SYNC_ENVS)
    names = {
        "vector": f"vector form, {result['num_envs']} environments",
        "plain": "plain form",
        "gymnasium": f"gymnasium.vector.SyncVectorEnv, {loop} environments",
    }
    rows = [
        [names[form], round(result[form]["steps_per_s"]), round(min(result[form]["samples"])),
         round(max(result[form]["samples"]))]
        for form in names if result[form]
    ]  # fmt: skip
    typer.echo(table((id, "steps/s", "min", "max"), rows))
    if ratio := result["ratio"]:
        typer.echo(
            f"vector form over Gymnasium's loop: {ratio['median']:.1f} "
            f"({ratio['min']:.1f} to {ratio['max']:.1f})"
        )
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")


def env_picture(
    id: IdArgument,
    out: Annotated[Path, typer.Option(help="Picture file, for example lorenz.png.")],
    policy: Annotated[
        str, typer.Option(help="best, random or module:function of a policy.")
    ] = "best",
    steps: Annotated[int, typer.Option(help="Leave the episode after so many.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="Of the environment.", min=0)] = 0,
    frames: Annotated[int, typer.Option(help="How many frames.", min=1)] = 6,
    kwargs: KwargsOption = "{}",
) -> None:
    """Draw frames of an episode, evenly spaced, with step and return, as one picture."""
    from experiments import env_picture as picture

    played = picture.env_picture(
        id, out, policy=policy, steps=steps, seed=seed, frames=frames,
        kwargs=json_object(kwargs, "--kwargs"),
    )  # fmt: skip
    typer.echo(f"{out}: {played['steps']} steps of {played['policy']}, return {played['return']:g}")


def json_object(text: str, option: str) -> dict[str, Any]:
    """Return the JSON object that an option holds.

    Raises:
        ConfigError: It holds something else.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{option} {text}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{option} {text}: wanted a JSON object")
    return found
