"""The folder a run leaves: its name, its lock, its status and the records made when it starts."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import socket
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from experiments.environment_record import environment_record
from experiments.git_record import git_record
from experiments.runs import CONFIG_FILE, LATEST, STATUS_FILE, is_run
from rlcore.errors import RunFolderError, RunFolderWriteError
from rlcore.redact import Redactor

State = Literal["starting", "running", "finished", "failed", "interrupted", "preempted"]

FOLDERS = ("logs", "checkpoints", "eval", "videos", "plots")
LOCK_FILE = ".lock"
MAX_SLUG_BYTES = 80
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that are easily taken for another
_ELSEWHERE = "; choose another place with --out"
_RESERVED = {LATEST, *FOLDERS}
_log = logging.getLogger(__name__)


def slug(name: str) -> str:
    """Return ``name`` as one safe path part: letters, digits, ``-``, ``_`` and inner dots.

    Letters of any script stay; everything else, path separators included, becomes ``-``.
    """
    text = re.sub(r"\.{2,}", "-", unicodedata.normalize("NFC", name))
    text = re.sub(r"[^\w.]+", "-", text).strip("-._")
    text = text.encode()[:MAX_SLUG_BYTES].decode(errors="ignore").rstrip("-._")
    return f"run-{text}" if text in _RESERVED else text or "run"


def folder_name(name: str, seed: int, now: datetime | None = None) -> str:
    """Return ``YYYY-MM-DD_<slug>_s<seed>_<4 random characters>``."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(4))
    return f"{now or datetime.now():%Y-%m-%d}_{slug(name)}_s{seed}_{tail}"


class RunFolder:
    """A run folder that this process writes to, and no other: it holds the folder's lock.

    The lock ends with the process, however that ends. Use :meth:`create` or :meth:`open`.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        starts: How many times the run was started before: 0 for a new one.

    Raises:
        RunFolderError: Another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts = 0
        self._status: dict[str, Any] = {}
        self._warned = False
        self._redactor = Redactor.from_environment()
        self._lock: int | None = _lock(path)

    @classmethod
    def create(
        cls,
        root: str | Path,
        name: str,
        seed: int,
        resolved: str,
        *,
        source: str = "",
        overrides: Sequence[str] = (),
        command: str = "",
        facts: Mapping[str, object] | None = None,
        threads: Mapping[str, int] | None = None,
        deterministic: bool = False,
        explicit: bool = False,
        new: bool = False,
    ) -> RunFolder:
        """Make the folder of a new run, with all that is known when it starts.

        Args:
            root: Folder of all runs; made if missing. Its ``latest`` link will name the new one.
            name: Name of the experiment or, with ``explicit``, of the folder.
            seed: The run's seed.
            resolved: Text of ``config.resolved.yaml``.
            source: Text of ``config.source.yaml``.
            overrides: The overrides given beside the files, one a line of ``overrides.txt``.
            command: The command line, for the card.
            facts: Further lines of the card, for example agent, environment and config hash.
            threads: Threads of each kind of process.
            deterministic: Whether deterministic algorithms are asked for.
            explicit: The user chose the folder's name; one that exists is refused.
            new: With ``explicit``, add to the name if it exists instead of refusing.

        Raises:
            RunFolderError: The folder exists.
            RunFolderWriteError: It cannot be written.
        """
        with _clear_errors(Path(root), _ELSEWHERE):
            path = _make_folder(Path(root), name, seed, explicit=explicit, new=new)
        try:
            with _clear_errors(path, _ELSEWHERE):
                run = cls(path)
                run._fill(
                    {
                        CONFIG_FILE: resolved,
                        "config.source.yaml": source,
                        "overrides.txt": "".join(f"{line}\n" for line in overrides),
                    },
                    environment_record(deterministic=deterministic, threads=threads),
                )
                run._write_card(name, seed, command, facts or {})
                run._start()
        except RunFolderError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        _point_latest(path)
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Take over the folder of a run to go on with it.

        Raises:
            RunFolderError: It is not a run folder, or it is in use.
            RunFolderWriteError: It cannot be written.
        """
        path = Path(path).resolve()
        if not is_run(path):
            raise RunFolderError(f"{path} is not a run folder: wanted one with {STATUS_FILE}")
        with _clear_errors(path):
            run = cls(path)
            run._status = _read_status(path)
            run.starts = int(run._status.get("starts", 0)) + 1
            for folder in FOLDERS:
                (path / folder).mkdir(exist_ok=True)
            run._start()
        _point_latest(path)
        return run

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Where the processes' logs go."""
        return self.path / "logs"

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the folder in one step, with secrets replaced.

        Raises:
            RunFolderWriteError: It cannot be written.
        """
        path = self.path / name
        with _clear_errors(self.path):
            _replace(path, self._redactor.text(text))
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file of the folder in one step, with secrets replaced.

        Raises:
            RunFolderWriteError: It cannot be written.
        """
        text = json.dumps(self._redactor.data(value), indent=1, ensure_ascii=False, default=str)
        return self.write_text(name, text + "\n")

    def write_status(self, state: State, *, step: int | None = None, reason: str = "") -> bool:
        """Rewrite ``STATUS.json``.

        Training does not stop for it: where it cannot be written, a warning is logged once.

        Args:
            state: What the run is doing, or how it ended.
            step: Environment steps; the last ones named by default.
            reason: Why it ended.

        Returns:
            Whether it was written.
        """
        try:
            self._put_status(state, step, reason)
        except RunFolderError as error:
            if not self._warned:
                _log.warning("%s", error)
            self._warned = True
            return False
        self._warned = False
        return True

    def beat(self, step: int) -> bool:
        """Note in ``STATUS.json`` that the run is alive at ``step`` environment steps."""
        return self.write_status("running", step=step)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- private --------------------------------------------------------------------------------

    def _fill(self, texts: Mapping[str, str], environment: Mapping[str, Any]) -> None:
        for folder in FOLDERS:
            (self.path / folder).mkdir()
        for name, text in texts.items():
            self.write_text(name, text)
        self.write_json("environment.json", environment)
        git = git_record()
        self.write_json("git.json", git.values)
        if git.diff:
            self.write_text("git.diff", git.diff)

    def _write_card(self, name: str, seed: int, command: str, facts: Mapping[str, object]) -> None:
        lines = {"seed": seed, **facts, "command": f"`{command}`" if command else "-"}
        rows = "".join(f"| {_cell(key)} | {_cell(value)} |\n" for key, value in lines.items())
        self.write_text("card.md", _CARD.format(title=_cell(name), rows=rows))

    def _start(self) -> None:
        now = _now()
        self._status = {
            "started": now,
            **self._status,
            "resumed": now if self.starts else None,
            "starts": self.starts,
            "pid": os.getpid(),
        }
        self._put_status("starting", None, "")

    def _put_status(self, state: State, step: int | None, reason: str) -> None:
        if step is not None:
            self._status["step"] = int(step)
        self._status |= {"state": state, "beat": _now(), "reason": reason or None}
        self.write_json(STATUS_FILE, {"step": 0, **self._status})


_CARD = """# {title}

| | |
| --- | --- |
{rows}
Versions and machine: `environment.json`. Code: `git.json`. Settings: `config.resolved.yaml`.

## Results

Evaluations, episode by episode: `eval/*.json`; `rlcore eval` adds one. Curves: `rlcore report`.

## Limits

Say here what the policy was not trained or tested for.
"""


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _make_folder(root: Path, name: str, seed: int, *, explicit: bool, new: bool) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    tries = [root / slug(name)] if explicit else []
    if not explicit or new:
        tries += [root / folder_name(name, seed) for _ in range(20)]
    for path in tries:
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path.resolve()
    raise RunFolderError(
        f"{tries[0]} exists already: go on with it by `--resume {tries[0]}`, or make another one "
        "with `--new` or another `--name`"
    )


def _lock(path: Path) -> int | None:
    """Take the folder's lock and leave the number of this process in it."""
    fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise RunFolderError(
            f"{path} is in use by process {holder}: two runs cannot share a folder; stop that one "
            "first, or start a new run"
        ) from None
    except OSError as error:
        os.close(fd)
        _log.warning("%s cannot be locked (%s): make sure no other run uses it", path, error)
        return None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return fd


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _read_status(path: Path) -> dict[str, Any]:
    try:
        status = json.loads((path / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.warning("%s of %s cannot be read: %s", STATUS_FILE, path, error)
        return {}
    return status if isinstance(status, dict) else {}


def _point_latest(path: Path) -> None:
    """Let ``latest`` name this run; readers see the old target or the new one."""
    link = path.parent / LATEST
    part = path.parent / f".{LATEST}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        part.symlink_to(path.name)
        part.replace(link)
    except OSError as error:
        _log.warning("%s was not pointed to %s: %s", link, path.name, error.strerror)
        part.unlink(missing_ok=True)


@contextmanager
def _clear_errors(path: Path, advice: str = "") -> Iterator[None]:
    try:
        yield
    except RunFolderWriteError as error:
        raise RunFolderWriteError(f"{error}{advice}") from error
    except OSError as error:
        raise RunFolderWriteError(
            f"the run folder {path} cannot be written: {error.strerror or error}{advice}"
        ) from error
