"""The run store: find run folders, read what they hold, compare and remove them.

Everything here reads files only; no torch is imported.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlcore.errors import RunFolderError
from rlcore.tracking.files import EVENTS_FILE, METRICS_FILE
from rlcore.tracking.jsonl import read_jsonl

Record = dict[str, float]

RUNS = Path("runs")
LATEST = "latest"
CONFIG_FILE = "config.resolved.yaml"
STATUS_FILE = "STATUS.json"
MARKERS = (STATUS_FILE, CONFIG_FILE, METRICS_FILE)
"""Any of these files makes a folder a run folder."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def status(self) -> dict[str, Any]:
        """What ``STATUS.json`` says; empty if it is missing."""
        return _read_json(self.path / STATUS_FILE)

    @property
    def state(self) -> str:
        """State of the run; ``lost`` if it claims to run but its process is gone."""
        status = self.status
        state, pid = str(status.get("state", "unknown")), status.get("pid")
        live = state in ("starting", "running", "training", "stopping")
        return "lost" if live and isinstance(pid, int) and not _alive(pid) else state

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty if it is missing."""
        return _read_yaml(self.path / CONFIG_FILE)

    @property
    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` says of versions, devices and threads."""
        return _read_json(self.path / "environment.json")

    @property
    def git(self) -> dict[str, Any]:
        """What ``git.json`` says of the commit."""
        return _read_json(self.path / "git.json")

    def metrics(self) -> list[Record]:
        """Return the records of ``metrics.jsonl`` that the run stands on, oldest first."""
        return read_metrics(self.path)

    def events(self) -> list[dict[str, Any]]:
        """Return all events, oldest first."""
        return read_jsonl(self.path / EVENTS_FILE)

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the contents of ``eval/*.json``, by environment step of the weights."""
        files = sorted((self.path / "eval").glob("*.json"))
        found = [{"file": file.name, **_read_json(file)} for file in files]
        return sorted(found, key=lambda e: (_step_of(e), e["file"]))

    def videos(self) -> list[Path]:
        """Return the run's videos, oldest first."""
        files = [p for p in (self.path / "videos").glob("*") if p.suffix in (".mp4", ".gif")]
        return sorted(files, key=lambda p: (p.stat().st_mtime, p.name))

    def evaluate(self, episodes: int = 100, **options: Any) -> dict[str, Any]:
        """Evaluate the run's newest checkpoint and return the summary, as ``rlcore eval`` does."""
        from experiments.evaluate import evaluate_run

        result: dict[str, Any] = evaluate_run(self.path, episodes=episodes, **options)
        return result


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What differs between two runs; values are ``(a, b)`` pairs, ``None`` where one has none.

    Attributes:
        config: By dotted setting.
        metrics: Last value of each metric.
    """

    config: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    metrics: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def read_metrics(run_dir: str | Path) -> list[Record]:
    """Return the metric records of a run, oldest first.

    A resumed run goes on from its checkpoint; what was logged beyond it before the interruption
    was trained again, so those records are left out.
    """
    kept: list[Record] = []
    for record in read_jsonl(Path(run_dir) / METRICS_FILE):
        if "run/resumes" in record:
            start = record.get("step/env", 0)
            kept = [old for old in kept if old.get("step/env", 0) <= start]
        kept.append(record)
    return kept


def last_values(records: list[Record]) -> Record:
    """Return the newest value of each metric; the axes are those of the newest training record."""
    values: Record = {}
    for record in records:
        is_eval = "eval/return_mean" in record
        values |= {k: v for k, v in record.items() if not (is_eval and k.startswith("step/"))}
    return values


def is_run(path: Path) -> bool:
    """Return whether ``path`` is a run folder."""
    return path.is_dir() and any((path / marker).is_file() for marker in MARKERS)


def list_runs(root: str | Path = RUNS) -> list[Run]:
    """Return the run folders in ``root``, oldest first."""
    root = Path(root)
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if not path.is_symlink() and is_run(path)]
    return [Run(path) for path in sorted(folders, key=_age)]


def _age(path: Path) -> tuple[float, str]:
    # The source config is written once, when a run is made; other files change later.
    for name in ("config.source.yaml", CONFIG_FILE, METRICS_FILE, STATUS_FILE):
        if (path / name).exists():
            return (path / name).stat().st_mtime, path.name
    return path.stat().st_mtime, path.name


def resolve_run(selector: str | Path, root: str | Path = RUNS) -> Run:
    """Return the run that a folder, ``latest``, ``runs/latest`` or a name's beginning selects.

    Raises:
        RunFolderError: None or several match; the message lists what there is.
    """
    path, root = Path(selector), Path(root)
    if path.name == LATEST and (path == Path(LATEST) or not path.exists()):
        folder = root if path == Path(LATEST) else path.parent
        return _latest(folder)
    if path.exists():
        if is_run(path):
            return Run(path.resolve() if path.is_symlink() else path)
        raise RunFolderError(f"{path} is not a run folder: wanted one with {', '.join(MARKERS)}")
    folder = path.parent if len(path.parts) > 1 else root
    runs = list_runs(folder)
    found = [run for run in runs if run.name == path.name]
    found = found or [run for run in runs if run.name.startswith(path.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(run.name for run in found[:8])
        raise RunFolderError(f"{str(selector)!r} matches {len(found)} runs in {folder}: {names}")
    names = ", ".join(run.name for run in runs[-5:]) or "none"
    raise RunFolderError(f"no run {str(selector)!r} in {folder}; the newest there: {names}")


def _latest(folder: Path) -> Run:
    link = folder / LATEST
    if link.is_symlink() and is_run(link):
        target = link.resolve()
        return Run(folder / target.name if target.parent == folder.resolve() else target)
    runs = list_runs(folder)
    if not runs:
        raise RunFolderError(f"no runs in {folder}; start one with `rlcore run FILE`")
    return runs[-1]


def show_run(run: Run | str | Path) -> dict[str, Any]:
    """Return a JSON-able summary of one run: state, settings that name it, progress, scores."""
    run = run if isinstance(run, Run) else resolve_run(run)
    records = run.metrics()
    values, config, status = last_values(records), run.config, run.status
    evaluations = run.evaluations()
    return {
        "name": run.name,
        "path": str(run.path),
        "state": run.state,
        "reason": status.get("reason"),
        "agent": _sub(config, "agent", "type"),
        "env": _sub(config, "env", "id") or _sub(config, "data", "path"),
        "seed": config.get("seed"),
        "env_steps": values.get("step/env"),
        "updates": values.get("step/update"),
        "wall_s": values.get("time/wall_s"),
        "return_mean": values.get("episode/return_mean"),
        "held_out_loss": values.get("eval/loss"),
        "eval": {k: v for k, v in values.items() if k.startswith("eval/")} or None,
        "evaluations": [e["file"] for e in evaluations],
        "checkpoints": sorted(p.name for p in (run.path / "checkpoints").glob("step-*")),
        "videos": [str(path) for path in run.videos()],
        "report": str(run.path / "report.html") if (run.path / "report.html").exists() else None,
        "commit": run.git.get("commit"),
        "metrics": values,
    }


def diff_runs(a: Run | str | Path, b: Run | str | Path) -> RunDifference:
    """Return the settings and the final metrics in which two runs differ."""
    first = a if isinstance(a, Run) else resolve_run(a)
    second = b if isinstance(b, Run) else resolve_run(b)
    config_a, config_b = flatten(first.config), flatten(second.config)
    metrics_a, metrics_b = last_values(first.metrics()), last_values(second.metrics())
    return RunDifference(_differing(config_a, config_b), _differing(metrics_a, metrics_b))


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = sorted(set(a) | set(b))
    return {k: (a.get(k), b.get(k)) for k in keys if not _same(a.get(k), b.get(k))}


def _same(x: Any, y: Any) -> bool:
    both_nan = isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y)
    return both_nan or (isinstance(x, bool) == isinstance(y, bool) and x == y)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping from dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def remove_run(run: Run | str | Path) -> Path:
    """Delete a run folder; a ``latest`` link to it goes to the newest run left. Returns its path.

    Raises:
        RunFolderError: It is still running, or not a run folder.
    """
    run = run if isinstance(run, Run) else resolve_run(run)
    if not is_run(run.path):
        raise RunFolderError(f"{run.path} is not a run folder")
    if run.state in ("starting", "running", "training", "stopping"):
        raise RunFolderError(f"{run.path} is still running (pid {run.status.get('pid')})")
    path = run.path.resolve()
    link = path.parent / LATEST
    was_latest = link.is_symlink() and link.resolve() == path
    # Renamed first, so that a half-deleted folder is never taken for a run.
    trash = path.with_name(f".trash-{path.name}-{os.getpid()}")
    path.rename(trash)
    shutil.rmtree(trash)
    if was_latest:
        link.unlink()
        left = list_runs(path.parent)
        if left:
            link.symlink_to(left[-1].name)
    return path


# -- reading files ------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: wanted a JSON object, got {type(value).__name__}")
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunFolderError(f"{path}: {error}") from error
    return value if isinstance(value, dict) else {}


def _step_of(evaluation: Mapping[str, Any]) -> float:
    for key in ("env_steps", "step/env", "step"):
        if isinstance(evaluation.get(key), (int, float)):
            return float(evaluation[key])
    return -1.0


def _sub(config: Mapping[str, Any], *path: str) -> Any:
    value: Any = config
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
