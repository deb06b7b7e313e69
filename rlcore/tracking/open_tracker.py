"""Builds the tracker of a run from plain settings."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rlcore.redact import Redactor
from rlcore.tracking.background import BackgroundSink
from rlcore.tracking.console import check_mode, make_console
from rlcore.tracking.files import JsonlSink
from rlcore.tracking.health import HealthMonitor
from rlcore.tracking.tensorboard_sink import TensorBoardSink
from rlcore.tracking.tracker import Sink, Tracker
from rlcore.tracking.view import RunView
from rlcore.tracking.wandb_sink import WandbSettings, WandbSink, choose_mode


def open_tracker(
    run_dir: str | Path,
    *,
    jsonl: bool = True,
    console: str = "auto",
    tensorboard: bool = True,
    wandb: WandbSettings | None = None,
    view: RunView | None = None,
    max_lag: int | None = None,
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
) -> Tracker:
    """Return the tracker of the run in ``run_dir``.

    Args:
        run_dir: The run folder; made if missing.
        jsonl: Whether to write ``metrics.jsonl`` and ``events.jsonl``.
        console: ``auto``, ``live``, ``plain`` or ``none``.
        tensorboard: Whether to write TensorBoard files; noted once if the package is missing.
        wandb: W&B settings; ``None`` for none.
        view: What the console shows; carries the run's name, target and actors.
        max_lag: The schedule's bound on lag, for the health lines.
        redactor: Hides secrets; by default those of the environment and netrc.
        stream: Where the console prints; standard error by default.

    Raises:
        ConfigError: A mode is unknown, or W&B is to be online without a key.
        OSError: The run folder cannot be written.
    """
    redactor = redactor or Redactor.from_environment()
    notes: list[str] = []
    # Checked first: a wrong setting must not leave a live console or files behind.
    check_mode(console)
    settings = _wandb_settings(wandb, notes)
    tensorboard = tensorboard and _has("tensorboard", notes)
    sinks: list[Sink] = []
    if jsonl:
        sinks.append(
            JsonlSink(run_dir, on_trouble=lambda text: tracker.event("warning", message=text))
        )
    shown = make_console(console, view or RunView(Path(run_dir).name), stream)
    if shown is not None:
        sinks.insert(0, shown)
    if tensorboard:
        sinks.append(BackgroundSink("tensorboard", lambda: TensorBoardSink(run_dir)))
    if settings is not None:
        chosen = settings
        sinks.append(BackgroundSink("wandb", lambda: WandbSink(chosen, run_dir, redactor=redactor)))
    tracker = Tracker(sinks, redactor=redactor, health=HealthMonitor(max_lag=max_lag))
    for note in notes:
        tracker.event("note", message=note)
    return tracker


def _wandb_settings(wandb: WandbSettings | None, notes: list[str]) -> WandbSettings | None:
    if wandb is None:
        return None
    mode, note = choose_mode(wandb.mode)
    if mode == "off" or not _has("wandb", notes):
        return None
    if note:
        notes.append(note)
    return replace(wandb, mode=mode)


def _has(package: str, notes: list[str]) -> bool:
    found = importlib.util.find_spec(package) is not None
    if not found:
        notes.append(f"the package {package} is not installed: no {package} log is written")
    return found
