"""The commands ``rlcore data tokenize | task | show``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli_text import folder_text, pairs
from experiments.storage_errors import naming
from rlcore.errors import ConfigError

OutOption = Annotated[Path, typer.Option(help="Folder of the data set, to be made.")]
SpecialOption = Annotated[
    str, typer.Option(help="Special tokens to add to char or byte, for example eos,mask.")
]


class Kind(StrEnum):
    """What one document is."""

    file = "file"
    line = "line"
    pairs = "pairs"


def add_commands(app: typer.Typer) -> None:
    """Add the group ``data``."""
    data = typer.Typer(help="Make and show token data sets.", no_args_is_help=True,
                       rich_markup_mode=None, pretty_exceptions_enable=False)  # fmt: skip
    data.command("tokenize")(tokenize)
    data.command("task")(task)
    data.command("show")(show)
    app.add_typer(data, name="data")


def tokenize(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="UTF-8 text files.")],
    out: OutOption,
    tokenizer: Annotated[
        str, typer.Option(help="char, byte, or a folder with a tokenizer.")
    ] = "char",
    documents: Annotated[
        Kind, typer.Option(help="A document is a file, a line, or a JSON line with a prompt.")
    ] = Kind.file,
    held_out: Annotated[float, typer.Option(help="Share at each file's end to hold out.")] = 0.1,
    special: SpecialOption = "",
) -> None:
    """Make a token data set from text files."""
    from experiments.tokenize_text import choose_tokenizer, read_documents, write_dataset

    splits = read_documents(files, documents.value, held_out)
    chosen = choose_tokenizer(tokenizer, splits, _roles(special))
    with naming(out):
        write_dataset(out, splits, chosen, eos=documents is not Kind.file)
    show(out)


def task(
    name: Annotated[str, typer.Argument(help="For example chain-sum or sudoku9-grids.")],
    out: OutOption,
    count: Annotated[int, typer.Option(help="Training documents.", min=1)] = 100_000,
    held_out: Annotated[int, typer.Option(help="Held-out documents.", min=0)] = 1000,
    seed: Annotated[int, typer.Option(help="Root of the random numbers.", min=0)] = 0,
    kwargs: Annotated[str, typer.Option(help="The task's arguments, a JSON object.")] = "{}",
    special: SpecialOption = "eos,mask",
) -> None:
    """Make a token data set of generated problems, a token a character."""
    from experiments.task_data import task_documents
    from experiments.tokenize_text import choose_tokenizer, write_dataset

    splits = task_documents(name, {"train": count, "val": held_out}, seed, _object(kwargs))
    chosen = choose_tokenizer("char", splits, _roles(special))
    with naming(out):
        write_dataset(out, splits, chosen, eos=False)
    show(out)


def show(folder: Annotated[Path, typer.Argument(help="Folder of a data set.")]) -> None:
    """Check a data set against its checksums and say what is in it."""
    from rlcore.data.tokens.dataset import TokenDataset

    dataset = TokenDataset.open(folder, verify=True)
    lines: dict[str, Any] = {"data set": folder_text(folder)}
    lines["vocabulary"] = dataset.index.vocab_size
    lines |= {"eos": dataset.index.eos_id, "mask": dataset.index.mask_id}
    for name in dataset.index.splits:
        file = dataset.split(name)
        longest = int(file.lengths.max())
        documents = "1 document" if len(file) == 1 else f"{len(file):,} documents"
        lines[name] = f"{len(file.tokens):,} tokens in {documents}, longest {longest:,}"
    typer.echo(pairs(lines))


def _roles(special: str) -> list[str]:
    return [role.strip() for role in special.split(",") if role.strip()]


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--kwargs must be a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"--kwargs must be a JSON object, got {text!r:.80}")
    return value
