"""The command line ``rlcore``: commands, exit codes, and what is printed when something is wrong.

Exit codes: 0 done; 1 training failed; 2 wrong settings or usage; 3 an optional package is missing;
4 no usable checkpoint; 130 interrupted. Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import copy
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from experiments import cli_data, cli_env, cli_info, cli_language, cli_runs, cli_train
from experiments.cli_guard import check_agents_package
from rlcore.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingDependencyError,
    RlcoreError,
    RunFolderError,
    RunFolderWriteError,
)
from rlcore.redact import Redactor, redact_output

FAILED, USAGE, MISSING, CHECKPOINT, INTERRUPTED = 1, 2, 3, 4, 130
_STORAGE = {  # what the place of a file is to blame for, and no line of rlcore
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
}  # fmt: skip

app = typer.Typer(
    name="rlcore",
    help="Train, evaluate and compare reinforcement-learning agents from YAML files.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong settings or usage, 3 missing package, "
    "4 no usable checkpoint, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (cli_train, cli_runs, cli_language, cli_info, cli_env, cli_data):
    _module.add_commands(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; a bug in rlcore raises.

    Args:
        arguments: Words after ``rlcore``; those of this process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    redact_output(Redactor.from_environment())
    try:
        check_agents_package()
        code = _invoke(words)
        if code == INTERRUPTED:  # typer makes this code of Ctrl-C, without a word
            typer.echo("interrupted", err=True)
        return code
    except RlcoreError as error:
        code = exit_code(error)
        typer.echo(str(error) if _speaks_for_itself(error) else f"error: {error}", err=True)
        return code
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader went away, for example `rlcore ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {where}{error.strerror}", err=True)
        try:
            sys.stdout.flush()
        except OSError:  # it is what is full: what it still holds cannot be written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _invoke(words: list[str]) -> int:
    name = next((word for word in words if not word.startswith("-")), "")
    command = typer.main.get_command(_only(app, name))
    if words and not words[0].startswith("-"):
        # The group's only option is --help. Where a command follows, typer would load pydantic to
        # find that it was not given.
        command.params, command.add_help_option = [], False
    try:
        result = command.main(words, prog_name="rlcore", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        # Usage errors of the parser, whichever library typer takes them from.
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()
        return int(error.exit_code)
    return result if isinstance(result, int) else 0


def _only(group: typer.Typer, name: str) -> typer.Typer:
    """Copy a group, keeping the parameters of one command; the others keep name and help.

    Typer evaluates every annotation of every command before it looks at the words, which takes
    longer than everything else that a ``--help`` does.
    """
    group = copy.copy(group)
    group.registered_commands = [
        info if info.name == name else _with(info, callback=_outline(info.callback))
        for info in group.registered_commands
    ]
    group.registered_groups = [
        info if info.name == name else _with(info, typer_instance=_only(info.typer_instance, ""))
        for info in group.registered_groups
    ]
    return group


def _with(info: Any, **fields: Any) -> Any:
    info = copy.copy(info)
    vars(info).update(fields)
    return info


def _outline(callback: Callable[..., Any]) -> Callable[[], None]:
    def outline() -> None:
        raise AssertionError("an outline is shown, never called")

    outline.__doc__ = callback.__doc__
    return outline


def exit_code(error: RlcoreError) -> int:
    """Return the exit code of an error; 0 for a run that was asked to end by SIGTERM."""
    name = getattr(error, "signal", None)
    if name is not None:
        return 0 if name == "SIGTERM" else INTERRUPTED
    if isinstance(error, MissingDependencyError):
        return MISSING
    if isinstance(error, CheckpointError):
        return CHECKPOINT
    if isinstance(error, RunFolderWriteError):
        return FAILED
    return USAGE if isinstance(error, ConfigError | DataError | RunFolderError) else FAILED


def _speaks_for_itself(error: RlcoreError) -> bool:
    return hasattr(error, "problems") or hasattr(error, "signal")


if __name__ == "__main__":
    sys.exit(main())
